"""Bought models beside our champion: same rows, one setting, and nothing sent unless asked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from flows.cli.main import cli
from flywheel.config import Home, UseCase
from flywheel.dataset import snapshots
from flywheel.errors import ConfigError, NotEnoughData
from flywheel.modeling import artifact, fingerprint, methods
from flywheel.records import Example
from flywheel.store import open_store
from flywheel.store.nights import contender_scores
from flywheel.tracking.registry import CHAMPION, Registry
from flywheel.training import adapter_folder
from flywheel.vendors.report import render_text
from tasks.curate import curate_snapshot
from tasks.ingest import ingest_inbox
from tasks.outputs.vendors import buy, page_path, plan
from tests import champions, nights
from tests.endpoints import Act, Served, endpoint, says, vendor
from tests.nights import AS_OF, CASE, SECRET

PRICED = CASE.gate.model_copy(update={"machine_cost_per_hour": 0.5, "unit": "row"})
# below it our champion is right on every holdout row, above it on none
RIGHT_SHARE = 0.75


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A snapshot, and a champion that answered its holdout at 20 ms per row."""
    home = Home(tmp_path_factory.mktemp("buy") / "home")
    home.root.mkdir()
    with nights.living_in(home):
        nights.drop(home, "first.jsonl", nights.first_rows())
        ingest_inbox(CASE, home, at=AS_OF)
        snapshot = curate_snapshot.fn(CASE, home, at=AS_OF)
        adapter = home.adapters / "1"
        digest = learn(home, adapter, snapshot.snapshot_id)
        Registry(home).set_alias(nights.register(home, adapter, digest), CHAMPION)
        holdout = holdout_of(home, snapshot.snapshot_id)
        good = round(RIGHT_SHARE * len(holdout))
        scores = {
            e.example_id: {label: float((label == e.label) == (i < good)) for label in CASE.labels}
            for i, e in enumerate(holdout)
        }
        with open_store(home.warehouse) as store:
            contender_scores.add(store, CASE.name, digest, scores, 20.0)
    return home


@pytest.fixture
def home(template: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    made = champions.copy(tmp_path / "home", source=template)
    monkeypatch.setenv("FLYWHEEL_HOME", str(made.root))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made.mlflow_uri)
    return made


def learn(home: Home, folder: Path, snapshot_id: str) -> str:
    """A champion that needs no base; returns its digest."""
    folder.mkdir(parents=True)
    train = [e for e in snapshots.read(home.snapshots, snapshot_id) if e.split == "train"]
    targets = [(CASE.label_names.index(e.label or ""),) for e in train]
    rows = methods.Rows([e.text for e in train], targets, [1.0] * len(train))
    work = methods.Work(CASE, None, rows, folder, 1, lambda *_: None)
    methods.method("tfidf").train(work)
    artifact.write(folder, artifact.Artifact("tfidf", None))
    (folder / adapter_folder.CURVE).touch()
    return fingerprint.of(CASE, None, folder).digest


def holdout_of(home: Home, snapshot_id: str | None = None) -> list[Example]:
    (found,) = [snapshot_id] if snapshot_id else [p.name for p in home.snapshots.iterdir()]
    return [e for e in snapshots.read(home.snapshots, found) if e.split == "holdout"]


def examples(home: Home) -> dict[str, str]:
    (found,) = [path.name for path in home.snapshots.iterdir()]
    return {e.text: e.label or "" for e in snapshots.read(home.snapshots, found)}


def knows(home: Home) -> Callable[[str, int], Act]:
    """An endpoint that is always right."""
    labels = examples(home)
    return lambda text, _: says(labels[text])


def buying(served: Served, **fields: Any) -> UseCase:
    given = {"input_price": 0.01, "output_price": 0.05, "spend_cap": 1e6, **fields}
    return CASE.model_copy(update={"vendors": [vendor(served.url, **given)], "gate": PRICED})


def test_both_are_compared_on_the_same_holdout_rows(home: Home) -> None:
    with endpoint(knows(home)) as served:
        facts = buy(buying(served, model="<b>bought"), home, at=AS_OF, per_day=10_000)

    rows = len(holdout_of(home))
    wrong = rows - round(RIGHT_SHARE * rows)
    (bought,) = facts["vendors"]
    assert (bought["holdout"]["rows"], bought["holdout"]["accuracy"]) == (rows, 1.0)
    found = bought["comparison"]
    assert (found["rows"], found["won"], found["lost"]) == (rows, 0, wrong)
    assert found["gain"] == pytest.approx(-wrong / rows)
    assert found["low"] < found["gain"] < found["high"] < 0
    # 100 tokens sent and 2 received for each; 0.5 an hour, idle or not
    assert bought["price"] == pytest.approx(1.1)
    assert facts["ours"]["price"] == pytest.approx(1.2)
    assert facts["ours"]["busy_price"] == pytest.approx(0.5 * 20 * 1_000 / 3.6e6)
    assert bought["break_even_per_day"] == pytest.approx(12_000 / 1.1)
    assert bought["latency"]["requests"] == rows
    assert facts["ours"]["latency"]["p50_ms"] > 0
    assert bought["served_models"] == ["bought-1"]
    text = "\n".join(render_text(json.loads(json.dumps(facts))))
    assert f"ours on the same {rows} rows: {1 - wrong / rows:.3f}" in text
    assert "making is cheaper from 10,909 answers a day" in text
    assert "if it is retired" in text
    assert "acme is better than ours by" in text
    page = page_path(CASE, home).read_text()
    assert page.count('<svg class="plot') == 2
    assert "<script" not in page
    assert "&lt;b&gt;bought" in page
    assert SECRET not in text + page


def test_a_setting_is_chosen_without_the_holdout(home: Home) -> None:
    labels = examples(home)
    holdout = {e.text for e in holdout_of(home)}
    asked: set[tuple[bool, int]] = set()

    def play(text: str, _before: int) -> Act:
        two_are_shown = len(served.bodies[-1]["messages"]) == 2 + 2 * 2
        return says(labels[text] if two_are_shown else "neither")

    with endpoint(play) as served:
        case = buying(served, shots=[0, 2, 4], concurrency=1)
        (bought,) = buy(case, home, at=AS_OF)["vendors"]
        for body in served.bodies:
            text = body["messages"][-1]["content"].partition("<text>")[2].partition("</text>")[0]
            asked.add((text in holdout, len(body["messages"]) // 2 - 1))

    assert asked == {(False, 0), (False, 2), (False, 4), (True, 2)}
    assert (bought["shots"], bought["settings_on_holdout"]) == (2, 1)
    assert [one["accuracy"] for one in bought["tried"]] == [0.0, 1.0, 0.0]


def test_no_shown_example_is_chosen_on_or_in_the_holdout(home: Home) -> None:
    with endpoint(knows(home)) as served:
        buy(buying(served, shots=[0, 6]), home, at=AS_OF)

    shown = {
        message["content"]
        for body in served.bodies
        for message in body["messages"][1:-1]
        if message["role"] == "user"
    }
    assert len(shown) == 6
    assert shown.isdisjoint(body["messages"][-1]["content"] for body in served.bodies)


def test_the_report_is_made_again_from_the_record(home: Home) -> None:
    with endpoint(knows(home)) as served:
        case = buying(served)
        first = buy(case, home, at=AS_OF)
    again = buy(case, home, at=AS_OF, offline=True)

    assert again["vendors"][0]["comparison"] == first["vendors"][0]["comparison"]
    assert again["vendors"][0]["holdout"]["asked"] == 0
    assert again["ours"]["latency"] is None
    assert "\n".join(render_text(again))


def test_a_holdout_that_was_asked_twice_says_so(home: Home) -> None:
    with endpoint(knows(home)) as served:
        buy(buying(served), home, at=AS_OF)
        facts = buy(buying(served, temperature=1), home, at=AS_OF)

    assert facts["vendors"][0]["settings_on_holdout"] == 2
    assert "asked under 2 settings" in "\n".join(render_text(facts))
    assert "the holdout under 2 settings" in page_path(CASE, home).read_text()


def test_nothing_recorded_is_nothing_to_replay(home: Home) -> None:
    with endpoint(knows(home)) as served:
        case = buying(served)

    with pytest.raises(NotEnoughData, match="nothing is recorded to replay"):
        buy(case, home, at=AS_OF, offline=True)
    assert not served.bodies


def test_without_a_champion_the_bought_model_stands_alone(home: Home) -> None:
    Registry(home).client.delete_registered_model_alias(CASE.name, CHAMPION)
    with endpoint(knows(home)) as served:
        facts = buy(buying(served), home, at=AS_OF)

    assert facts["ours"] is None
    assert facts["vendors"][0]["comparison"] is None
    assert facts["vendors"][0]["never_cheaper_to_make"] is None
    assert "no champion yet" in "\n".join(render_text(facts))


def test_a_home_without_a_night_has_no_rows(home: Home) -> None:
    home.warehouse.unlink()
    with endpoint(knows(home)) as served, pytest.raises(NotEnoughData, match="no snapshot yet"):
        buy(buying(served), home, at=AS_OF)


def test_a_vendor_that_is_not_there_is_named(home: Home) -> None:
    with endpoint(knows(home)) as served, pytest.raises(ConfigError, match="no vendor other"):
        plan(buying(served), home, ["other"])
    with pytest.raises(ConfigError, match="no vendor at all"):
        plan(CASE, home)


def test_the_command_sends_nothing_until_told(home: Home, tmp_path: Path) -> None:
    with endpoint(knows(home)) as served:
        file = tmp_path / "case.yaml"
        case = buying(served, shots=[0, 2])
        file.write_text(yaml.safe_dump(case.model_dump(mode="json")))
        shutil.rmtree(home.vendors(CASE.name), ignore_errors=True)
        looked = CliRunner().invoke(cli, ["vendor", "-u", str(file)])
        planned = json.loads(CliRunner().invoke(cli, ["vendor", "-u", str(file), "--json"]).stdout)
        assert not served.bodies
        assert "nothing was sent" in looked.output
        done = CliRunner().invoke(cli, ["vendor", "acme", "-u", str(file), "--yes", "--json"])

    facts = json.loads(done.stdout)
    assert planned[0]["requests"] == len(served.bodies)
    assert planned[0]["most"] > facts["vendors"][0]["spent"] > 0
    assert SECRET not in done.output
