"""What people change between nights: labels, prompt, libraries, versions. No night fails for it."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from flows.retrain import flywheel
from flywheel.config import Home, UseCase
from flywheel.diagnostics import doctor
from flywheel.errors import DigestMismatch
from flywheel.libraries import library_version
from flywheel.modeling import fingerprint
from flywheel.serving.models.engine import RegistryModelSource
from flywheel.store import open_store
from flywheel.store.nights import night_runs
from flywheel.tracking.registry import CHALLENGER, CHAMPION, Registry
from tasks import prune as pruning
from tasks.champion.move import champions
from tasks.champion.rollback import rollback
from tasks.outputs.predict import load_champion
from tests import champions as champions_of
from tests import intents, nights
from tests.intents import PLAIN
from tests.nights import AS_OF, DAY

pytestmark = pytest.mark.prefect

CASE = intents.case_of(PLAIN)
NOON = AS_OF.replace(hour=12)


@pytest.fixture(scope="module", autouse=True)
def prefect_server() -> None:
    nights.prefect_server()


@pytest.fixture
def home(home: Home) -> Iterator[Home]:
    with nights.training_here():
        yield home


def live(
    home: Home, case: UseCase, rows: list[Any], *, day: int, name: str = "day"
) -> dict[str, Any]:
    """One night after ``rows`` came."""
    if rows:
        intents.drop(home, f"{name}-{day}.jsonl", rows)
    return flywheel(case, AS_OF + day * DAY)


@functools.cache
def lived(promotions: int) -> tuple[Home, dict[str, Any]]:
    """A home whose nights each made a champion, and the last of these nights."""
    folder = Path(tempfile.mkdtemp(prefix="flywheel-intents-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if promotions == 1:
        home, rows = nights.make_home(folder / "home"), intents.rows(PLAIN, each=30)
    else:
        home, rows = champions_of.copy(folder / "home", source=lived(1)[0]), new(1)
    with nights.living_in(home):
        night = live(home, CASE, rows, day=promotions - 1)
        assert (night["outcome"], champion(home)) == ("promoted", str(promotions))
    return home, night


def begin(home: Home, *, promotions: int) -> dict[str, Any]:
    """Make ``home`` one of so many promotions; the night of the last."""
    source, night = lived(promotions)
    shutil.rmtree(home.root)
    champions_of.copy(home.root, source=source)
    return night


def first(home: Home) -> dict[str, Any]:
    return begin(home, promotions=1)


def more(day: int) -> list[Any]:
    """Rows that teach nothing new."""
    return intents.rows(PLAIN, each=10, day=day)


def new(day: int) -> list[Any]:
    """Rows that the champion knows nothing of, so that tonight's challenger is better."""
    return intents.rows(PLAIN, each=60, day=day, topic=day)


def reason(night: dict[str, Any], rule: str) -> dict[str, Any]:
    return next(one for one in night["reasons"] if one["rule"] == rule)


def champion(home: Home) -> str | None:
    return Registry(home).champion("intents")


def challenger(home: Home) -> str:
    found = Registry(home).by_alias("intents", CHALLENGER)
    assert found is not None
    return found.version


def delete(home: Home, *versions: str) -> None:
    """What a person does in MLflow."""
    client = MlflowClient(home.mlflow_uri)
    for version in versions:
        client.delete_model_version("intents", version)


# ---- Labels


def test_labels_of_any_name_and_order_live_through_a_night(home: Home) -> None:
    case = intents.case_of(intents.ODD)
    night = live(home, case, intents.rows(intents.ODD, each=30), day=0)
    assert night["outcome"] == "promoted"
    assert night["challenger_accuracy"] == 1
    asked = [("somebody", f"a new one says {intents.word(label)}") for label in intents.ODD]
    for label, answer in zip(
        intents.ODD, load_champion(case, home).answer(asked, at=NOON), strict=True
    ):
        assert answer.label == label == max(answer.probabilities, key=answer.probabilities.get)
        assert tuple(answer.probabilities) == intents.ODD
    page = next(home.reports("intents").glob("*Z.html")).read_text()
    assert "&lt;b&gt;VIP&lt;/b&gt;" in page
    assert "<b>VIP</b>" not in page


def test_an_added_label_is_a_night_and_the_champion_does_not_know_it(home: Home) -> None:
    first(home)
    wider = intents.case_of((*PLAIN, "new one"))
    night = live(home, wider, intents.rows(wider.label_names, each=40, day=1), day=1)
    assert night["outcome"] == "promoted"
    told = reason(night, "champion")
    assert told["passed"] is True
    assert "it does not know 'new one', and is wrong where that is right" in told["detail"]
    assert night["champion_accuracy"] < night["challenger_accuracy"]


@pytest.mark.slow
def test_a_label_that_was_taken_away_is_a_night_with_a_note(home: Home) -> None:
    first(home)
    fewer = intents.case_of(PLAIN[:2])
    night = live(home, fewer, intents.rows(PLAIN, each=10, day=1)[:20], day=1)
    assert night["outcome"] in ("promoted", "undecided", "rejected")
    assert f"it still answers '{PLAIN[2]}'" in reason(night, "champion")["detail"]


@pytest.mark.slow
def test_a_renamed_label_is_a_night_with_a_note(home: Home) -> None:
    first(home)
    renamed = intents.case_of(("refund", "card is lost", "address"))
    night = live(home, renamed, intents.rows(renamed.label_names, each=40, day=1), day=1)
    assert night["outcome"] == "promoted"
    told = reason(night, "champion")["detail"]
    assert "it does not know 'card is lost'" in told
    assert "it still answers 'card lost'" in told
    assert "a renamed label is another label" in told


# ---- The prompt


@pytest.mark.slow
def test_after_the_prompt_was_edited_the_champion_is_asked_by_its_own(home: Home) -> None:
    begun = first(home)
    edited = intents.case_of(PLAIN, prompt="Text: {text}\nIntent:")
    night = live(home, edited, more(1), day=1)
    assert night["champion_accuracy"] is not None
    assert "the prompt was edited" in reason(night, "champion")["detail"]
    registry = Registry(home)
    before = registry.by_version("intents", begun["version"])
    assert before.served_use_case().prompt == CASE.prompt
    loaded = RegistryModelSource(home, "intents").load(begun["version"])
    assert loaded.digest == before.digest, "what was measured goes on answering"
    assert loaded.use_case.prompt == CASE.prompt


@pytest.mark.slow
def test_a_champion_with_the_old_prompt_can_be_gone_back_to(home: Home) -> None:
    first(home)
    edited = intents.case_of(PLAIN, prompt="Text: {text}\nIntent:")
    night = live(home, edited, new(1), day=1)
    assert night["outcome"] == "promoted"
    assert rollback(edited, home, at=NOON + DAY, who="ann", why="x").version == "1"
    (answer,) = load_champion(edited, home).answer([("ann", "hello")], at=NOON + DAY)
    assert answer.model_version == "1"


# ---- Libraries


def upgrade(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another torch than the one that the nights before ran with."""
    real = library_version
    monkeypatch.setattr(
        fingerprint, "library_version", lambda n: "9.9.9" if n == "torch" else real(n)
    )


@pytest.mark.slow
def test_after_a_library_upgrade_the_next_night_measures_the_champion_anew(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = first(home)
    upgrade(monkeypatch)
    with pytest.raises(DigestMismatch, match=r"torch .* → 9\.9\.9.*flywheel night -u intents"):
        RegistryModelSource(home, "intents").load(begun["version"])
    night = live(home, CASE, more(1), day=1)
    told = reason(night, "champion")
    assert told["passed"] is True
    assert "it answers the holdout as it did before" in told["detail"]
    assert night["outcome"] in ("promoted", "undecided", "rejected")
    number = champion(home)
    assert number is not None
    served = RegistryModelSource(home, "intents").load(number)
    assert served.measured, "its self-test has rows to ask"
    again = live(home, CASE, more(2), day=2)
    assert not [one for one in again["reasons"] if "measured anew" in one["detail"].lower()]


@pytest.mark.slow
def test_a_night_without_feedback_measures_the_champion_anew_all_the_same(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = first(home)
    upgrade(monkeypatch)
    night = live(home, CASE, [], day=1)
    assert night["outcome"] == "skipped"
    assert "is version 2 now, with the same weights" in reason(night, "champion")["detail"]
    assert champion(home) == "2" != begun["version"]
    assert champions(home, "intents")[-1].action == "remeasured"
    load_champion(CASE, home)


def test_a_champion_that_answers_otherwise_and_below_the_floors_takes_no_traffic(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = first(home)
    upgrade(monkeypatch)
    strict = intents.case_of(PLAIN, gate={"min_holdout_examples": 1_000})
    with open_store(home.warehouse) as store:
        # what was measured then is not what it answers by now
        store.con.execute(
            "UPDATE scores SET probabilities = ?", ['{"refund": 1, "card lost": 0, "address": 0}']
        )
    night = live(home, strict, [], day=1)
    told = reason(night, "champion")
    assert told["passed"] is None
    assert "below what a first model must reach" in told["detail"]
    assert "pip install -r requirements.lock" in told["detail"]
    assert champion(home) == begun["version"]


@pytest.mark.slow
def test_a_trial_with_fresh_rows_outlives_a_library_upgrade(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    first(home)
    few = intents.rows(PLAIN, each=4, day=1, topic=1)
    assert live(home, CASE, few, day=1)["outcome"] == "undecided", "it goes on trial"
    night = live(home, CASE, intents.rows(PLAIN, each=4, day=2, topic=1), day=2)
    assert any("fresh rows in" in one["detail"] for one in night["reasons"]), "with fresh rows"
    upgrade(monkeypatch)
    for day in (3, 4):
        night = live(home, CASE, intents.rows(PLAIN, each=4, day=day, topic=1), day=day)
        assert night["outcome"] in ("promoted", "undecided", "rejected")


# ---- Versions that were deleted in MLflow


def two_champions(home: Home) -> None:
    begin(home, promotions=2)


@pytest.mark.slow
def test_a_deleted_predecessor_ends_its_watch_and_no_night_fails(home: Home) -> None:
    two_champions(home)
    delete(home, "1")
    night = live(home, CASE, more(2), day=2)
    told = reason(night, "brake")
    assert told["passed"] is True
    assert "intents version 1 is not in MLflow any more" in told["detail"]
    again = live(home, CASE, more(3), day=3)
    assert not [one for one in again["reasons"] if one["rule"] == "brake"], "said once"


@pytest.mark.slow
def test_a_deleted_champion_gives_way_to_the_one_before_it(home: Home) -> None:
    two_champions(home)
    delete(home, "2")
    night = live(home, CASE, more(2), day=2)
    assert night["outcome"] in ("promoted", "undecided", "rejected")
    restored = champions(home, "intents")[2]
    assert (restored.action, restored.version) == ("restored", "1")
    assert restored.why == "version 2, the champion, was deleted in MLflow"


@pytest.mark.slow
def test_a_deleted_only_champion_promotes_nobody_until_one_command(home: Home) -> None:
    first(home)
    delete(home, "1")
    for day in (1, 2):
        night = live(home, CASE, more(day), day=day)
        assert night["outcome"] == "undecided"
        told = reason(night, "champion")
        assert "intents version 1, the champion, is not in MLflow any more" in told["detail"]
        assert "flywheel rollback -u intents --to challenger --yes" in told["detail"]
        assert champion(home) is None
        (found,) = (one for one in doctor.examine(CASE, home) if one.name == "champion")
        assert (found.ok, found.detail) == (False, told["detail"])
    chosen = challenger(home)
    step = rollback(CASE, home, to="challenger", at=NOON + 2 * DAY, who="ann", why="x")
    assert (step.version, champion(home)) == (chosen, chosen)
    night = live(home, CASE, more(3), day=3)
    assert night["champion_accuracy"] is not None


@pytest.mark.slow
def test_a_registry_that_counts_from_one_again_brings_back_no_stranger(home: Home) -> None:
    first(home)
    MlflowClient(home.mlflow_uri).delete_registered_model("intents")
    night = live(home, CASE, more(1), day=1)
    assert (night["outcome"], night["version"]) == ("undecided", "1")
    live(home, CASE, more(2), day=2)
    assert champion(home) is None, "version 1 of the log was another model"


@pytest.mark.slow
def test_a_deleted_challenger_on_trial_is_registered_anew(home: Home) -> None:
    first(home)
    night = live(home, CASE, more(1), day=1)
    delete(home, night["version"])
    again = live(home, CASE, more(2), day=2)
    assert again["outcome"] in ("promoted", "undecided", "rejected")
    assert Registry(home).by_alias("intents", CHALLENGER) is not None


def promotionsof(home: Home) -> dict[datetime, str]:
    with open_store(home.warehouse) as store:
        return {night.as_of: night.outcome for night in night_runs.nights(store, "intents")}


@pytest.mark.slow
def test_a_champion_whose_files_are_gone_promotes_nobody_and_names_a_command(home: Home) -> None:
    two_champions(home)
    held = Registry(home).by_alias("intents", CHAMPION)
    assert held is not None
    for file in Path(held.adapter_dir).iterdir():
        file.unlink()
    night = live(home, CASE, more(2), day=2)
    assert night["outcome"] == "undecided"
    assert "flywheel rollback -u intents --yes" in reason(night, "champion")["detail"]
    assert rollback(CASE, home, at=NOON + 2 * DAY, who="ann", why="x").version == "1"
    assert "failed" not in promotionsof(home).values()


# ---- After a prune


def test_after_a_prune_the_next_night_is_as_it_would_have_been(home: Home) -> None:
    first(home)
    at = AS_OF + 400 * DAY
    for path in home.root.rglob("*"):
        os.utime(path, (AS_OF.timestamp(), AS_OF.timestamp()))
    gone = {one.kind for one in pruning.prune(home, at=at, keep_days=90)}
    assert gone == {"done", "adapter"}
    night = live(home, CASE, new(1), day=1)
    assert night["outcome"] == "promoted"
    assert (night["feedback_read"], champion(home)) == (len(new(1)), "2")
    assert load_champion(CASE, home).answer([("somebody", "a new one says")], at=NOON)
