"""Nights that go on from the champion, those that must not, and what is told of both."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from flows.retrain import flywheel
from flywheel.config import Home, UseCase
from flywheel.dataset import snapshots
from flywheel.errors import DataError, DigestMismatch
from flywheel.modeling import artifact
from flywheel.records import Curated, Example, NightRecord, Snapshot, Trained
from flywheel.reports import lineage
from flywheel.store import erasure as warehouse
from flywheel.store import open_store
from flywheel.store.nights import night_runs
from flywheel.tracking.registry import CHAMPION, Registry
from flywheel.tracking.versions import Version
from flywheel.training import adapter_folder, runner
from flywheel.training.warm_start import Start
from tasks.erasure.erase import forget, plan
from tasks.warm_start import adapter_of, choose_start, require_unseen
from tests import champions, nights
from tests.nights import AS_OF, DAY

pytestmark = [pytest.mark.prefect, pytest.mark.model]


def with_training(**changes: Any) -> UseCase:
    recipe = nights.CASE.training.model_copy(update={"start_from": "champion", **changes})
    return nights.CASE.model_copy(update={"training": recipe})


CASE = with_training()
NEXT = AS_OF + 2 * DAY


@dataclass
class Life:
    """A home in which version 2 went on from version 1, and the nights that made them."""

    home: Home
    nights: list[dict[str, Any]] = field(default_factory=list)
    again: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    nights.prefect_server()
    home = nights.make_home(tmp_path_factory.mktemp("warm") / "home")
    life = Life(home)
    with nights.living_in(home), nights.training_here():
        nights.drop(home, "day-000.jsonl", nights.first_rows())
        life.nights.append(flywheel(CASE, AS_OF))
        nights.drop(home, "day-001.jsonl", nights.seed_rows(topic=1))
        life.nights.append(flywheel(CASE, AS_OF + DAY))
        yield life


@pytest.fixture
def home(life: Life, tmp_path: Path) -> Iterator[Home]:
    """A copy of that home, to do harm in."""
    home = champions.copy(tmp_path / "home", source=life.home)
    with nights.living_in(home), nights.training_here():
        yield home


def version(home: Home, number: str) -> Version:
    return Registry(home).by_version(CASE.name, number)


def examples(home: Home, number: str) -> tuple[Example, ...]:
    return snapshots.read(home.snapshots, version(home, number).snapshot_id)


def tonight(home: Home, *changed: Example, without: str | None = None) -> Snapshot:
    """A snapshot of all that version 2 learned from, one new row, and what a test changes."""
    rows = {one.example_id: one for one in examples(home, "2")}
    new = replace(next(iter(rows.values())), example_id="new", group_id="new", split="train")
    rows |= {one.example_id: one for one in (new, *changed)}
    rows.pop(without or "", None)
    return snapshots.write(Curated(tuple(rows.values()), ()), home.snapshots)


def learned(home: Home) -> Example:
    return next(one for one in examples(home, "1") if one.split == "train")


def start(home: Home, snapshot: Snapshot | None = None, case: UseCase = CASE) -> Start:
    return choose_start.fn(case, home, snapshot or tonight(home), at=NEXT)


# ---- A night that went on


def test_the_first_night_starts_from_the_base_and_says_why(life: Life) -> None:
    first = life.nights[0]
    assert first["outcome"] == "promoted"
    assert first["started_from"] == "the base: there is no champion to go on from"
    assert first["parent"] is None


def test_the_second_goes_on_from_the_champion_on_what_is_new_and_as_much_again(life: Life) -> None:
    first, second = life.nights
    new = len(nights.seed_rows(topic=1))
    assert (second["parent"], second["parent_version"]) == (first["digest"], "1")
    assert (second["new_examples"], second["replayed_examples"]) == (new, new)
    assert second["started_from"] == f"version 1: {new} new rows and {new} learned again"
    assert second["train_examples"] == len(nights.seed_rows(topic=0)) + new
    assert second["trained_examples"] == second["train_examples"], "those of its ancestors, too"


def test_it_learned_what_is_new(life: Life) -> None:
    assert life.nights[1]["outcome"] == "promoted"
    assert life.nights[1]["challenger_accuracy"] > life.nights[1]["champion_accuracy"]


def test_its_parent_stands_in_its_manifest_its_tags_and_its_report(life: Life) -> None:
    child, parent = version(life.home, "2"), version(life.home, "1")
    assert artifact.read(CASE, child.adapter_dir).parent == parent.digest
    assert champions.tags(life.home, "2")["parent"] == parent.digest
    assert champions.tags(life.home, "2")["parent_version"] == "1"
    assert "parent" not in champions.tags(life.home, "1")
    pages = sorted((life.home.root / "reports").rglob("*Z.html"))
    assert life.nights[1]["started_from"] in pages[1].read_text()


@pytest.mark.slow
def test_the_same_night_again_starts_where_it_did(life: Life, home: Home) -> None:
    with open_store(home.warehouse) as store:
        night_runs.record(
            store, CASE.name, NightRecord(AS_OF + DAY, "failed", [], recorded_at=AS_OF + DAY)
        )
    before = sorted(path.name for path in home.adapters.iterdir())
    again = flywheel(CASE, AS_OF + DAY)
    assert again["digest"] == life.nights[1]["digest"]
    assert again["started_from"] == life.nights[1]["started_from"]
    assert sorted(path.name for path in home.adapters.iterdir()) == before


# ---- Nights that must not go on


def test_it_goes_on_from_a_champion_that_went_on_itself(home: Home) -> None:
    found = start(home)
    assert (found.version, found.digest) == ("2", version(home, "2").digest)
    assert found.snapshots == (version(home, "2").snapshot_id, version(home, "1").snapshot_id)
    assert adapter_of(CASE, home, found) == version(home, "2").adapter_dir


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"method": "ia3"}, "method ia3 does not go on from an adapter"),
        ({"full_every": 2}, "one of 2 trainings is"),
        ({"full_every": 1}, "one of 1 trainings is"),
        ({"lora_rank": 8}, "another shape"),
        ({"method": "lora"}, "version 2 is qlora on tiny"),
        ({"max_length_tokens": 16}, "max_length_tokens 32 → 16"),
    ],
)
def test_another_recipe_starts_from_the_base(changes: dict[str, Any], why: str, home: Home) -> None:
    found = start(home, case=with_training(**changes))
    assert not found.is_warm
    assert found.why.startswith("the base: ")
    assert why in found.why


def test_another_prompt_or_label_starts_from_the_base(home: Home) -> None:
    prompt = CASE.model_copy(update={"prompt": "{text}\nSentiment:"})
    labels = CASE.model_copy(update={"labels": dict(reversed(CASE.labels.items()))})
    assert "prompt: measured" in start(home, case=prompt).why
    assert "labels: measured" in start(home, case=labels).why


def test_a_row_that_was_withdrawn_starts_it_from_the_base(home: Home) -> None:
    found = start(home, tonight(home, without=learned(home).example_id))
    assert found.why == "the base: of version 2: 1 row it learned from withdrawn or left out since"
    assert not found.is_warm


def test_a_row_that_was_corrected_starts_it_from_the_base(home: Home) -> None:
    row = learned(home)
    (other,) = set(CASE.label_names) - {row.label}
    found = start(home, tonight(home, replace(row, label=other)))
    assert "1 row it learned from corrected to another label since" in found.why
    assert not found.is_warm


def test_a_row_that_is_in_the_holdout_starts_it_from_the_base(home: Home) -> None:
    found = start(home, tonight(home, replace(learned(home), split="holdout")))
    assert "now in the holdout" in found.why
    assert not found.is_warm


@pytest.mark.parametrize("marked", ["1", "2"])
def test_who_was_forgotten_is_not_gone_on_from_however_far_back(marked: str, home: Home) -> None:
    Registry(home).mark_forgotten(CASE.name, marked, "certificate-1")
    assert start(home).why == (
        "the base: version 2 or an ancestor learned from somebody forgotten since"
    )


def test_a_tampered_champion_is_not_gone_on_from(home: Home) -> None:
    champions.tamper(home, "2")
    assert "version 2 is not what was measured: adapter: measured" in start(home).why


@pytest.mark.slow
def test_a_champion_whose_files_are_gone_is_not_gone_on_from(home: Home) -> None:
    snapshot = tonight(home)
    shutil.rmtree(version(home, "2").adapter_dir)
    assert start(home, snapshot).why == "the base: the champion's files are gone"


def test_a_champion_that_lost_what_says_how_to_read_it_is_not_gone_on_from(home: Home) -> None:
    folder = version(home, "2").adapter_dir
    whole = (folder / artifact.METHOD).read_text()
    (folder / artifact.METHOD).write_text(whole[:9])
    assert start(home).why == "the base: version 2 has lost files"
    (folder / artifact.METHOD).write_text(whole)
    (folder / artifact.PEFT_CONFIG).unlink()
    assert start(home).why == "the base: version 2 has lost files"


@pytest.mark.slow
def test_ancestors_that_are_not_on_record_start_it_from_the_base(home: Home) -> None:
    snapshot = tonight(home)
    shutil.rmtree(home.snapshots / version(home, "1").snapshot_id)
    assert "not all on record" in start(home, snapshot).why
    champions.tag(home, "2", parent="a digest that nobody has")
    assert "not all on record" in start(home, snapshot).why


def test_a_training_looks_again_beside_the_rows(home: Home, tmp_path: Path) -> None:
    found = start(home)
    row = learned(home)
    spoiled = {
        "holdout": (tonight(home, replace(row, split="holdout")), DataError),
        "withdrawn": (tonight(home, without=row.example_id), DataError),
    }
    for name, (snapshot, error) in spoiled.items():
        with pytest.raises(error, match="Nothing goes on from version 2"):
            _train(home, snapshot, found, tmp_path / name)
    champions.tamper(home, "2")
    with pytest.raises(DigestMismatch, match="Nothing goes on from it"):
        _train(home, tonight(home), found, tmp_path / "tampered")


def _train(home: Home, snapshot: Snapshot, found: Start, folder: Path) -> Trained:
    return runner.train(
        CASE,
        base=home.models / "tiny",
        snapshots_dir=home.snapshots,
        snapshot_id=snapshot.snapshot_id,
        folder=folder,
        start=found,
        parent=version(home, "2").adapter_dir,
    )


# ---- What its ancestors learned from is its own


def test_the_holdout_is_not_asked_about_rows_that_an_ancestor_learned_from(home: Home) -> None:
    snapshot = version(home, "2").snapshot_id
    folder = next(path for path in home.adapters.iterdir() if _snapshots_of(path))
    trained = adapter_folder.read_trained(folder)
    assert trained.ancestors == (version(home, "1").snapshot_id,)
    require_unseen(CASE, home, Snapshot(snapshot, 0, 0, 0), trained)
    seen = tonight(home, replace(learned(home), split="holdout"))
    with pytest.raises(DataError, match="learned from 1 rows of tonight's holdout"):
        require_unseen(CASE, home, seen, trained)
    same_group = replace(learned(home), example_id="another", split="holdout")
    with pytest.raises(DataError, match="must be new to it"):
        require_unseen(CASE, home, tonight(home, same_group), trained)
    _take_one_of_the_holdout_out_of(home, version(home, "1").snapshot_id)
    require_unseen(CASE, home, Snapshot(snapshot, 0, 0, 0), trained)
    with pytest.raises(DataError, match="learned from 1 rows of tonight's holdout"):
        require_unseen(CASE, home, seen, trained)
    for folder in home.snapshots.iterdir():
        if folder.name != snapshot:
            shutil.rmtree(folder)
    with pytest.raises(DataError):
        require_unseen(CASE, home, Snapshot(snapshot, 0, 0, 0), trained)


def _take_one_of_the_holdout_out_of(home: Home, old: str) -> None:
    """As the forgetting of somebody from whom nothing learned."""
    examples = snapshots.read(home.snapshots, old)
    gone = next(one for one in examples if one.split == "holdout")
    new = snapshots.write(
        Curated(tuple(one for one in examples if one is not gone), ()), home.snapshots
    )
    with open_store(home.warehouse) as store:
        held = warehouse.held(store, CASE.name, "nobody")
        warehouse.replace_snapshot(store, held, old, new, "certificate-1")
    shutil.rmtree(home.snapshots / old)


def _snapshots_of(folder: Path) -> list[str]:
    return list(json.loads((folder / adapter_folder.COMPLETE).read_text()).get("ancestors", []))


def test_the_lineage_of_a_version_is_that_of_its_ancestors_too(life: Life) -> None:
    found = lineage.find(CASE, life.home, "2")
    assert [one["version"] for one in found["ancestors"]] == ["1"]
    assert found["learned_count"] == life.nights[1]["train_examples"]
    assert found["learned_by_ancestors_only"] == 0
    said = "\n".join(lineage.render_text(found))
    assert "went on from version 1 (snapshot" in said
    assert lineage.find(CASE, life.home, "1")["ancestors"] == []


def test_a_feedback_leads_to_the_versions_that_went_on_from_one_that_learned_it(
    home: Home,
) -> None:
    name = learned(home).feedback_ids[0]
    assert {one["version"] for one in lineage.find(CASE, home, name)["versions"]} == {"1", "2"}
    with open_store(home.warehouse) as store:
        # as if the child's own snapshot did not hold the row
        store.con.execute(
            "DELETE FROM snapshot_rows WHERE snapshot_id = ?", [version(home, "2").snapshot_id]
        )
    found = {one["version"]: one["outcome"] for one in lineage.find(CASE, home, name)["versions"]}
    assert found == {"1": "promoted", "2": "by descent"}


def test_forgetting_marks_what_went_on_from_what_learned_from_them(home: Home) -> None:
    person = learned(home).group_id
    with open_store(home.warehouse) as store:
        # as if the child's own snapshot did not hold them: its parent's did
        store.con.execute(
            "DELETE FROM snapshot_rows WHERE snapshot_id = ?", [version(home, "2").snapshot_id]
        )
    assert [one.version for one in plan(home, person).versions] == ["1", "2"]
    forget(home, person, at=NEXT)
    marked = [
        one.version for one in Registry(home).versions(CASE.name) if "certificate_id" in one.tags
    ]
    assert marked == ["1", "2"]


@pytest.mark.slow
def test_after_a_forgetting_the_next_night_starts_from_the_base(home: Home) -> None:
    person = learned(home).group_id
    forget(home, person, at=NEXT)
    night = flywheel(CASE, NEXT + DAY)
    assert night["started_from"].startswith("the base: somebody was forgotten")
    assert night["parent"] is None
    assert Registry(home).by_alias(CASE.name, CHAMPION) is not None
