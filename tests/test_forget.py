"""A forgotten customer is in no file, table or free page, and no ingest brings them back."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

import tasks.forget
from flows.__main__ import cli
from flywheel import forgetting, report, snapshots
from flywheel.config import Home
from flywheel.errors import DataError, FlywheelError, StoreBusy
from flywheel.exports import record
from flywheel.records import Curated, Example, FreshRow, Reason, Snapshot
from flywheel.registry import CHAMPION, Registry
from flywheel.store import contenders, diary, fresh_rows, labelling, open_store, trials
from flywheel.store import forgetting as warehouse
from flywheel.summary import status, status_lines
from flywheel.vendors import answers
from flywheel.vendors import lines as vendor_lines
from tasks.curate import curate_snapshot, reason_to_skip
from tasks.forget import certificate_path, forget, plan
from tasks.ingest import ingest_inbox
from tasks.lock import only_night
from tasks.report import ARTIFACT_FOLDER, ARTIFACT_NAME, write_page
from tasks.trial import fresh_examples
from tests.somebody import (
    ASKED,
    AT,
    CANARY,
    JOB,
    SHARED,
    WHO,
    drop,
    files_of_first_day,
    hashes,
    json_lines,
    other,
    places,
    predicted,
    report_page,
    tables,
    theirs,
)

IN_EXAM = "customer-1006"
"""Who has a row in the newest snapshot's exam, and no other."""

IN_TRAINING = "customer-1004"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Two nights, two versions, the second champion; and a file that still waits."""
    home = Home(tmp_path_factory.mktemp("forget") / "home")
    home.root.mkdir()
    with open_store(home.warehouse) as store:
        store.add_predictions(
            JOB.name,
            [
                predicted("p-theirs", WHO, ASKED),
                predicted("p-other", "customer-1001", "asked by another"),
            ],
        )
    for name, content in files_of_first_day().items():
        drop(home, name, content)
    ingest_inbox(JOB, home, at=AT)
    first = curate_snapshot.fn(JOB, home, at=AT)
    drop(home, "h.jsonl", json_lines(theirs(11), other(40), other(41)))
    ingest_inbox(JOB, home, at=AT)
    second = curate_snapshot.fn(JOB, home, at=AT + timedelta(days=1))
    assert first != second
    # not home.mlflow_uri, which follows what an earlier test left in the environment
    client = MlflowClient(f"sqlite:///{home.root / 'mlflow.db'}")
    client.create_registered_model(JOB.name)
    with open_store(home.warehouse) as store:
        for number, snapshot in enumerate((first, second), start=1):
            digest = f"d{number}"
            exam = [e for e in snapshots.read(home.snapshots, snapshot.snapshot_id)]
            contenders.add(
                store, JOB.name, digest, {e.example_id: {"card": 1.0} for e in exam}, 1.0
            )
            folder = home.mlflow_artifacts / JOB.name / str(number) / "adapter"
            folder.mkdir(parents=True)
            (folder / "adapter_model.safetensors").write_bytes(b"weights")
            tags = {"digest": digest, "snapshot_id": snapshot.snapshot_id}
            client.create_model_version(JOB.name, folder.as_uri(), tags=tags)
            diary.record(
                store,
                JOB.name,
                AT + timedelta(days=number),
                "promoted",
                [],
                {"version": str(number)},
                snapshot.snapshot_id,
                digest,
                AT,
            )
    client.set_registered_model_alias(JOB.name, CHAMPION, "2")
    note = home.mlflow_artifacts / JOB.name / "2" / "worst.json"
    note.write_text(json.dumps({"text": theirs(2)["text"]}))
    html = report_page()
    write_page(home, JOB.name, AT, html)
    (home.reports(JOB.name) / "20260101T0000Z.html.open").write_text(html[: len(html) // 2])
    artifact = home.mlflow_artifacts / "3" / "run" / "artifacts" / ARTIFACT_FOLDER / ARTIFACT_NAME
    artifact.parent.mkdir(parents=True)
    artifact.write_text(html)
    write_page(home, JOB.name, AT + timedelta(days=1), report.page({"use_case": JOB.name}))
    uncommitted = Example("1", theirs(1)["text"], "card", 1.0, WHO, "train", ("theirs-1",))
    snapshots.write(Curated((uncommitted,), ()), home.snapshots)
    drop(home, "waits.jsonl", json_lines(theirs(12), other(42)))
    return home


@pytest.fixture
def home(template: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    shutil.copytree(template.root, tmp_path / "home")
    monkeypatch.setenv("FLYWHEEL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    return Home()


@pytest.fixture(autouse=True)
def without_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")


# ---- The whole of it


def test_the_dry_run_lists_every_place_and_changes_nothing(home: Home) -> None:
    before = hashes(home)
    found = plan(home, WHO)
    assert hashes(home) == before
    counts = found.rows[JOB.name]
    assert {name for name, count in counts.items() if not count} <= {"drops", "evidence"}
    assert counts["predictions"] == 1
    # 8 and 7 are in quarantine; others: a reaction to an answer given to them, and a quote
    assert counts["feedback"] == 9 + 2
    assert counts["quarantine"] == 2
    assert found.quotes[JOB.name] == 1
    assert {Path(file.path).name.partition("-")[2] or file.path for file in found.files} == {
        "a.jsonl", "b.csv", "c.jsonl.gz", "d.parquet", "e.csv.gz", "f.jsonl", "g.jsonl", "h.jsonl",
        "from-forgotten.jsonl", "inbox/job/waits.jsonl",
    }  # fmt: skip
    assert [one.version for one in found.versions] == ["1", "2"]
    assert len(found.snapshots) == 2
    assert any(place.endswith("worst.json") for place in found.artifacts)
    assert any(place.startswith("snapshots/") for place in found.artifacts)
    assert found.pages == (
        "mlflow-artifacts/3/run/artifacts/report/night.html",
        "reports/job/20260103T0000Z.html",
    )
    assert not [place for place in found.artifacts if place.endswith(".html")]


def test_nothing_of_the_person_is_left_anywhere(home: Home) -> None:
    assert len(places(home, CANARY)) > 10
    assert len(places(home, WHO)) > 10
    done = forget(home, WHO, at=AT)
    assert places(home, CANARY) == set()
    assert places(home, WHO) == set()
    assert done["searched_afterwards"]["found"] == []
    assert done["searched_afterwards"]["texts"] > 5
    assert done["searched_afterwards"]["files"] > 10


def test_a_report_stays_without_what_the_person_said(home: Home) -> None:
    untouched = home.reports(JOB.name) / "20260104T0000Z.html"
    before = untouched.read_bytes()
    escaped = "violet heron sings at midnight &amp; it&#39;s &lt;so&gt;,\n&#34;indeed&#34;"
    assert places(home, escaped) >= set(plan(home, WHO).pages)
    done = forget(home, WHO, at=AT)
    assert places(home, escaped) == places(home, "theirs-2") == set()
    assert places(home, theirs(2)["text"].upper()) == set()
    for place in done["reports_rewritten"]:
        html = (home.root / place).read_text()
        assert html.count("[forgotten]") == 6
        assert other(1)["text"] in html
    assert len(done["reports_rewritten"]) == 2
    assert untouched.read_bytes() == before
    assert not [*home.root.rglob("*.html.open")]
    page = certificate_path(home, done["certificate_id"]).read_text()
    assert "- reports/job/20260103T0000Z.html" in page


def test_a_person_only_a_report_quotes_is_not_nowhere(home: Home) -> None:
    write_page(home, JOB.name, AT, report.page({"description": "for customer-77 alone"}))
    found = plan(home, "customer-77")
    assert not found.is_empty
    assert "report reports/job/20260103T0000Z.html: what they said is taken out of it" in (
        forgetting.plan_lines(found)
    )


def test_answers_bought_for_the_person_go_and_what_they_cost_stays(home: Home) -> None:
    with open_store(home.warehouse, read_only=True) as store:
        newest = labelling.newest_snapshot(store, JOB.name)
    assert newest is not None
    examples = snapshots.read(home.snapshots, newest)
    folder = home.vendors(JOB.name)
    folder.mkdir(parents=True)
    for example in examples:
        vendor_lines.append(answers.path(folder, "acme"), {"text_id": example.example_id})
        vendor_lines.append(answers.spent_path(folder, "acme"), {"price": 1.0})
    gone = {e.example_id for e in examples if e.group_id == WHO or CANARY in e.text}
    assert gone

    planned = plan(home, WHO)
    forget(home, WHO, at=AT)

    (file,) = [one for one in planned.files if one.path == "vendors/job/acme.jsonl"]
    assert (file.rows, file.others) == (len(gone), len(examples) - len(gone))
    kept = {line["text_id"] for line in vendor_lines.read(answers.path(folder, "acme"))}
    assert kept == {e.example_id for e in examples} - gone
    assert len(vendor_lines.read(answers.spent_path(folder, "acme"))) == len(examples)


def test_a_cell_of_a_benchmark_that_was_killed_goes(home: Home) -> None:
    cell = home.bench("small") / ".tmp-cell"
    cell.mkdir(parents=True)
    (cell / "examples.parquet").write_bytes(b"packed")
    (home.bench("small") / "done.json").write_text("{}")
    forget(home, WHO, at=AT)
    assert [path.name for path in home.bench("small").iterdir()] == ["done.json"]


def test_nobody_is_forgotten_while_a_vendor_is_asked(home: Home) -> None:
    with vendor_lines.only_writer(home.vendors(JOB.name)), pytest.raises(StoreBusy):
        forget(home, WHO, at=AT)


def test_everybody_else_keeps_what_is_theirs(home: Home) -> None:
    before = tables(home)["feedback"]
    forget(home, WHO, at=AT)
    after = tables(home)["feedback"]
    gone = {one[1] for one in before} - {one[1] for one in after}
    assert gone == {f"theirs-{n}" for n in (1, 2, 3, 4, 5, 6, 9, 10, 11)} | {"other-21", "other-23"}
    assert [one for one in before if one[1] not in gone] == after
    with open_store(home.warehouse) as store:
        kept = {r.feedback_id: r.text for r in store.reactions(JOB.name)}
    assert kept["other-22"] == SHARED
    names = {row[1] for row in tables(home)["predictions"]}
    assert names == {"p-other"}
    waiting = (home.inbox(JOB.name) / "waits.jsonl").read_bytes()
    assert waiting == json_lines(other(42))


def test_snapshots_are_whole_and_without_the_person(home: Home) -> None:
    before = {row[1]: row for row in tables(home)["snapshots"]}
    done = forget(home, WHO, at=AT)
    after = {row[1]: row for row in tables(home)["snapshots"]}
    assert before.keys().isdisjoint(after)
    assert {p.name for p in home.snapshots.iterdir()} == set(after)
    for name, (_, _, _, *sizes) in after.items():
        examples = snapshots.read(home.snapshots, name)
        rows = [row for row in tables(home)["snapshot_rows"] if row[1] == name]
        assert {e.example_id for e in examples} == {row[2] for row in rows}
        assert sum(sizes) == len(examples) > 3
        assert not [e for e in examples for f in e.feedback_ids if f.startswith("theirs-")]
    assert {one["snapshot_id_before"] for one in done["snapshots"]} == set(before)
    assert {one["snapshot_id_after"] for one in done["snapshots"]} == set(after)


def test_versions_are_marked_and_status_says_so(home: Home) -> None:
    done = forget(home, WHO, at=AT)
    marks = {one.version: one.tags for one in Registry(home).versions(JOB.name)}
    assert {tags["forgotten_data"] for tags in marks.values()} == {"true"}
    assert {tags["certificate_id"] for tags in marks.values()} == {done["certificate_id"]}
    said = "\n".join(status_lines(status(JOB, home)))
    assert f"certificate {done['certificate_id']}" in said
    assert any("champion" in one for one in done["not_undone"])


def test_the_certificate_names_where_versions_were_exported_to(home: Home) -> None:
    place = Path("/elsewhere/reviews")
    theirs_too = Path(f"/elsewhere/{WHO}")
    tags = {
        record.key(to): record.value(to, form="adapter", at=AT.isoformat())
        for to in (place, theirs_too)
    }
    Registry(home).tag(JOB.name, "2", tags)
    shown = "\n".join(forgetting.plan_lines(plan(home, WHO)))
    assert f"exported: adapter in {place} since 2026-01-03; it stays there" in shown
    done = forget(home, WHO, at=AT)
    said = "\n".join(done["not_undone"])
    assert f"job version 2 was exported as adapter in {place} since 2026-01-03" in said
    assert "adapter in /elsewhere/forgotten" in said, "the person's own name is not told"
    page = certificate_path(home, done["certificate_id"]).read_text()
    assert str(place) in page
    for text in (said, page, shown):
        assert WHO not in text
    exported = {one["version"]: len(one["exports"]) for one in done["versions_marked"]}
    assert exported == {"1": 0, "2": 2}


def test_the_next_night_trains_without_the_person(home: Home) -> None:
    assert reason_to_skip(JOB, home, Snapshot(tables(home)["nights"][1][5], 100, 0, 0)) is not None
    forget(home, WHO, at=AT)
    snapshot = curate_snapshot.fn(JOB, home, at=AT + timedelta(days=3))
    assert reason_to_skip(JOB, home, snapshot) is None
    texts = [e.text for e in snapshots.read(home.snapshots, snapshot.snapshot_id)]
    assert SHARED in texts
    assert not [text for text in texts if CANARY in text]


def test_the_night_after_counts_what_is_left(home: Home) -> None:
    forget(home, IN_EXAM, at=AT)
    rewritten = newest_snapshot(home).snapshot_id
    snapshot = curate_snapshot.fn(JOB, home, at=AT + timedelta(days=3))
    assert snapshot.snapshot_id == rewritten, "nobody else is concerned"
    with open_store(home.warehouse) as store:
        left = len(store.reactions(JOB.name))
        assert store.steps(JOB.name, rewritten)[0].seen == left


def judge(home: Home) -> None:
    """A night that trained on the newest snapshot, and asked the exam about what came of it."""
    name = newest_snapshot(home).snapshot_id
    splits = Counter(e.split for e in snapshots.read(home.snapshots, name))
    counts = {"train_examples": splits["train"], "exam_examples": splits["exam"]}
    at, facts = AT + timedelta(days=2), {"version": "2", **counts}
    with open_store(home.warehouse) as store:
        diary.record(store, JOB.name, at, "rejected", [], facts, name, "d2", AT)


def next_night(home: Home) -> Reason | None:
    """Why a night after a forgetting does not train; nobody else asked for a retrain."""
    ingest_inbox(JOB, home, at=AT)
    snapshot = curate_snapshot.fn(JOB, home, at=AT + timedelta(days=3))
    with open_store(home.warehouse) as store:
        # as a night that trained lands it
        store.con.execute("UPDATE retrains SET landed_in = now()")
    return reason_to_skip(JOB, home, snapshot)


def test_the_exam_is_not_asked_again_about_the_same_training_rows(home: Home) -> None:
    (home.inbox(JOB.name) / "waits.jsonl").unlink()
    judge(home)
    before = newest_snapshot(home)
    done = forget(home, IN_EXAM, at=AT)
    assert [one["exam_removed"] for one in done["snapshots"]] == [1, 1]
    assert done["retrain_requested"] == []
    why_not = next_night(home)
    assert newest_snapshot(home) != before
    assert why_not is not None
    assert why_not.rule == "something_new"


def test_a_retrain_is_wanted_only_where_the_newest_version_learned_from_them(home: Home) -> None:
    theirs_in_it = [newest_snapshot(home).snapshot_id, "other-4"]
    with open_store(home.warehouse) as store:
        # as if they had been long ago
        store.con.execute(
            "DELETE FROM snapshot_rows WHERE snapshot_id = ? AND list_contains(feedback_ids, ?)",
            theirs_in_it,
        )
    done = forget(home, IN_TRAINING, at=AT)
    registry = Registry(home)
    marked = [registry.learned_from_forgotten(JOB.name, digest) for digest in ("d1", "d2")]
    assert marked == [True, False]
    assert done["retrain_requested"] == []
    assert not [said for said in done["not_undone"] if "trains without" in said]
    with open_store(home.warehouse) as store:
        assert not diary.retrain_wanted(store, JOB.name)


def test_other_training_rows_are_trained_on_after_a_forgetting(home: Home) -> None:
    (home.inbox(JOB.name) / "waits.jsonl").unlink()
    judge(home)
    done = forget(home, IN_TRAINING, at=AT)
    assert sum(one["train_removed"] for one in done["snapshots"]) > 0
    assert next_night(home) is None


@pytest.mark.parametrize(
    "new",
    [
        pytest.param([other(n, source="app") for n in range(70, 82)], id="training"),
        pytest.param([other(n, source="desk", group_id="group-6") for n in (70, 71)], id="exam"),
    ],
)
def test_new_rows_are_something_new_after_a_forgetting(
    home: Home, new: list[dict[str, Any]]
) -> None:
    (home.inbox(JOB.name) / "waits.jsonl").unlink()
    judge(home)
    forget(home, IN_EXAM, at=AT)
    drop(home, "new.jsonl", json_lines(*new))
    why_not = next_night(home)
    assert why_not is None or why_not.rule != "something_new"


def test_a_snapshot_judged_before_is_trained_on_again_until_that_night_lands(home: Home) -> None:
    forget(home, WHO, at=AT)
    snapshot = curate_snapshot.fn(JOB, home, at=AT)
    night = JOB.name, AT + timedelta(days=5), "rejected", [], dict[str, Any](), snapshot.snapshot_id
    with open_store(home.warehouse) as store:
        diary.record(store, *night, None, AT)
        assert diary.retrain_wanted(store, JOB.name)
        diary.record(store, *night, "d5", AT)
        assert not diary.retrain_wanted(store, JOB.name)
    assert reason_to_skip(JOB, home, replace(snapshot, train=100)) is not None
    with open_store(home.warehouse) as store:
        warehouse.delete_rows(store, [], WHO, retrain=[JOB.name], certificate_id="another")
    assert reason_to_skip(JOB, home, replace(snapshot, train=100)) is None


def on_trial(home: Home) -> trials.Standing:
    """A challenger that went on trial before anybody reacted, and that fresh rows were bet on."""
    pair = {"digest": "d2", "champion_digest": "d1"}
    with open_store(home.warehouse) as store:
        trials.start(
            store,
            JOB.name,
            kind="challenge",
            as_of=AT - timedelta(days=1),
            snapshot_id="s",
            adapter="a",
            train_examples=10,
            rules=JOB.gate,
            **pair,
        )
        one = trials.of_pair(store, JOB.name, kind="challenge", **pair)
    assert one is not None
    return one


def newest_snapshot(home: Home) -> Snapshot:
    with open_store(home.warehouse, read_only=True) as store:
        newest = labelling.newest_snapshot(store, JOB.name)
    assert newest is not None
    return Snapshot(newest, 100, 0, 0)


def bet_on(home: Home, at: datetime) -> set[str]:
    """Bet on all that is fresh; returns which rows were not bet on before."""
    case = JOB.model_copy(
        update={"gate": JOB.gate.model_copy(update={"evidence_sources": ["app"]})}
    )
    with open_store(home.warehouse) as store:
        (one,) = trials.trials(store, JOB.name, kind="challenge")
    found = fresh_examples(case, home, newest_snapshot(home), one)
    pair = {"digest": one.digest, "champion_digest": one.champion_digest}
    with open_store(home.warehouse) as store:
        before = {row.example_id for row in trials.evidence(store, JOB.name, one)}
        fresh = [e for e in found if e.example_id not in before]
        rows = [FreshRow(at, e.example_id, e.group_id, "app", True, False) for e in fresh]
        fresh_rows.add_evidence(store, JOB.name, rows, **pair)
    return {e.text for e in fresh}


def test_a_row_that_was_bet_on_is_not_bet_on_again_after_a_forgetting(home: Home) -> None:
    both, new = "both of us agree on these words", "words that are new tonight"
    on_trial(home)
    # a group of the training side
    said = {"text": both, "value": "card", "group_id": "group-4"}
    drop(home, "both.jsonl", json_lines(theirs(61, **said), other(62, **said)))
    ingest_inbox(JOB, home, at=AT)
    curate_snapshot.fn(JOB, home, at=AT + timedelta(days=2))
    assert both in bet_on(home, AT + timedelta(days=2))
    forget(home, WHO, at=AT)
    drop(home, "new.jsonl", json_lines(other(63, text=new)))
    ingest_inbox(JOB, home, at=AT)
    curate_snapshot.fn(JOB, home, at=AT + timedelta(days=3))
    texts = {e.text for e in snapshots.read(home.snapshots, newest_snapshot(home).snapshot_id)}
    assert both in texts, "somebody else said it too"
    assert bet_on(home, AT + timedelta(days=3)) & {both, new} == {new}


def test_a_row_is_not_bet_on_again_where_its_snapshot_was_damaged(home: Home) -> None:
    """Such a snapshot cannot be rewritten; the next night makes it anew."""
    new = "words of somebody else that came tonight"
    on_trial(home)
    # a group of the training side
    mine = other(62, text=new, source="app", group_id="group-4")
    drop(home, "new.jsonl", json_lines(theirs(61, group_id="group-4"), mine))
    ingest_inbox(JOB, home, at=AT)
    curate_snapshot.fn(JOB, home, at=AT + timedelta(days=2))
    assert new in bet_on(home, AT + timedelta(days=2))
    for file in (home.snapshots / newest_snapshot(home).snapshot_id).rglob("*.parquet"):
        file.write_bytes(b"damaged")
    forget(home, WHO, at=AT)
    curate_snapshot.fn(JOB, home, at=AT + timedelta(days=3))
    texts = {e.text for e in snapshots.read(home.snapshots, newest_snapshot(home).snapshot_id)}
    assert new in texts
    assert new not in bet_on(home, AT + timedelta(days=3))


def test_a_name_leaves_evidence_that_a_rater_was_taken_out_of_before(home: Home) -> None:
    """Who labelled a row was forgotten first, then who had asked, by whom evidence is grouped."""
    asked, rater = "customer-1001", "rater-of-the-house"
    one = on_trial(home)
    reacted = {"kind": "accept", "value": None, "text": None, "prediction_id": "p-other"}
    row = other(70, **reacted, customer_id=None, rater_id=rater, group_id=None)
    drop(home, "rated.jsonl", json_lines(row))
    ingest_inbox(JOB, home, at=AT)
    curate_snapshot.fn(JOB, home, at=AT + timedelta(days=2))
    assert "asked by another" in bet_on(home, AT + timedelta(days=2))
    with open_store(home.warehouse, read_only=True) as store:
        before = Counter((r.as_of, r.challenger_right) for r in trials.evidence(store, "job", one))
    for person in (rater, asked):
        assert plan(home, person).rows["job"]["evidence"] > 0
        found = forget(home, person, at=AT)["searched_afterwards"]["found"]
        assert not [place for place in found if "evidence" in place]
    with open_store(home.warehouse, read_only=True) as store:
        after = trials.evidence(store, "job", one)
    assert asked not in {row.group_id for row in after}
    assert Counter((row.as_of, row.challenger_right) for row in after) == before


def test_nothing_a_challenger_learned_from_is_fresh_after_a_forgetting(home: Home) -> None:
    one = replace(on_trial(home), snapshot_id=newest_snapshot(home).snapshot_id)
    case = JOB.model_copy(
        update={"gate": JOB.gate.model_copy(update={"evidence_sources": ["app"]})}
    )
    assert fresh_examples(case, home, newest_snapshot(home), one) == []
    forget(home, IN_EXAM, at=AT)
    assert newest_snapshot(home).snapshot_id != one.snapshot_id
    assert fresh_examples(case, home, newest_snapshot(home), one) == []


def test_the_certificate_says_what_stays_of_evidence(home: Home) -> None:
    on_trial(home)
    bet_on(home, AT + timedelta(days=1))
    planned = plan(home, WHO)
    assert planned.rows[JOB.name]["evidence"] > 0
    assert "who was right stays" in "\n".join(forgetting.plan_lines(planned))
    done = forget(home, WHO, at=AT)
    assert done["searched_afterwards"]["found"] == []
    assert "evidence" not in done["rows_deleted"][JOB.name]
    assert done["evidence_made_anonymous"] == {JOB.name: planned.rows[JOB.name]["evidence"]}
    assert "who was right stays" in certificate_path(home, done["certificate_id"]).read_text()
    assert plan(home, WHO).is_empty


def test_the_certificate_names_nobody_and_says_what_changed(home: Home) -> None:
    before = hashes(home)
    done = forget(home, WHO, at=AT)
    page = certificate_path(home, done["certificate_id"])
    content = json.loads(page.with_suffix(".json").read_text())
    assert content == done
    for said in (page.read_text(), json.dumps(content), page.name):
        assert WHO not in said
        assert CANARY not in said
    assert f"`{done['person_hash']}`" in page.read_text()
    after = hashes(home)
    for file in done["files"]:
        assert file["sha256_before"] in before.values()
        assert file["sha256_after"] == after.get(file["path"])
    deleted = [file["path"] for file in done["files"] if file["sha256_after"] is None]
    # in no order: files are named by their hash, and a packed one holds the time it was packed
    assert {Path(path).name.partition("-")[2] for path in deleted} == {"g.jsonl", "e.csv.gz"}
    assert done["warehouse"]["sha256_before"] == before["warehouse.duckdb"]
    assert done["warehouse"]["sha256_after"] == after["warehouse.duckdb"]
    assert done["exam_changed"] == any(one["exam_removed"] for one in done["snapshots"])


STEPS = (
    "_open_journal", "_remember", "_rewrite_pages", "_erase_files", "_rewrite_snapshots",
    "_mark_versions", "_delete_artifacts", "_delete_rows", "_rewrite_warehouse", "_search",
    "_certify",
)  # fmt: skip
# a name that is gone fails here, at collection
PLACES = {step: getattr(tasks.forget, step) for step in STEPS}
# these run by default; the others are slow only because there are many
ALWAYS = (("_open_journal", "after"), ("_rewrite_snapshots", "after"), ("_delete_rows", "after"))


class PowerCut(BaseException):
    """What no code handles."""


@pytest.mark.parametrize(
    ("step", "when"),
    [
        pytest.param(step, when, marks=() if (step, when) in ALWAYS else pytest.mark.slow)
        for step in PLACES
        for when in ("before", "after")
    ],
)
def test_killed_at_any_step_the_next_run_finishes(
    step: str, when: str, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole: Callable[..., Any] = PLACES[step]

    def deadly(*args: Any, **kwargs: Any) -> Any:
        if when == "after":
            whole(*args, **kwargs)
        raise PowerCut

    with monkeypatch.context() as patched:
        patched.setattr(tasks.forget, step, deadly)
        with pytest.raises(PowerCut):
            forget(home, WHO, at=AT)
    done = forget(home, WHO, at=AT + timedelta(hours=1))
    assert places(home, CANARY) == set()
    assert places(home, WHO) == set()
    assert done["searched_afterwards"]["found"] == []
    assert done["rows_deleted"][JOB.name]["feedback"] == 11
    assert [one["version"] for one in done["versions_marked"]] == ["1", "2"]
    assert len(done["snapshots"]) == 2
    assert all(one["snapshot_id_after"] for one in done["snapshots"])
    assert not [*home.forget.glob("*.journal")]
    assert len([*home.forget.glob("*.md")]) == 1
    with open_store(home.warehouse) as store:
        assert diary.retrain_wanted(store, JOB.name)
    marks = [one.tags for one in Registry(home).versions(JOB.name)]
    assert {tags["certificate_id"] for tags in marks} == {done["certificate_id"]}


@pytest.mark.parametrize(
    "statement",
    [pytest.param(n, marks=() if n in (0, 4) else pytest.mark.slow) for n in range(8)],
)
def test_killed_between_two_deletions_nothing_is_half_done(
    statement: int, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        broken = (*warehouse._DELETE[:statement], "SELECT error('cut')")
        patched.setattr(warehouse, "_DELETE", broken)
        with pytest.raises(duckdb.Error):
            forget(home, WHO, at=AT)
    assert "table feedback" in places(home, WHO)
    assert forget(home, WHO, at=AT)["complete"]
    assert places(home, CANARY) == set()


# ---- Not brought back


def test_the_same_files_do_not_bring_the_person_back(home: Home) -> None:
    forget(home, WHO, at=AT)
    (home.inbox(JOB.name) / "waits.jsonl").unlink()
    before = tables(home)["feedback"]
    for name, content in files_of_first_day().items():
        drop(home, name, content)
    counts = ingest_inbox(JOB, home, at=AT)
    assert counts.ingested == 0
    assert tables(home)["feedback"] == before
    assert places(home, CANARY) == set()
    assert places(home, WHO) == {"names"}, "the name of a file that somebody else chose"


def test_a_changed_file_does_not_bring_the_person_back_and_every_row_is_counted(home: Home) -> None:
    forget(home, WHO, at=AT)
    (home.inbox(JOB.name) / "waits.jsonl").unlink()
    quote = f'He told me: "{theirs(1)["text"]}", and I agree'
    rows = [
        theirs(1, given_at="2026-01-05T00:00:00Z"),
        theirs(50),
        theirs(51, customer_id=None),
        theirs(52, rater_id="clerk"),
        theirs(53, value="nonsense"),
        other(21, text=quote),
        other(54, text=f"{CANARY}", prediction_id="p-theirs"),
        other(55),
    ]
    drop(home, "again.jsonl", json_lines(*rows) + json.dumps(theirs(56)).encode()[:-9] + b"\n")
    counts = ingest_inbox(JOB, home, at=AT)
    assert (counts.read, counts.ingested, counts.quarantined) == (9, 1, 8)
    assert counts.read == (counts.ingested + counts.duplicate + counts.quarantined + counts.parked)
    refused = [row for row in tables(home)["quarantine"] if row[1] == "again.jsonl"]
    assert {(row[4], row[5]) for row in refused} == {("forgotten", "")}
    assert places(home, CANARY) == set()
    assert places(home, WHO) == set()


def test_an_answer_to_the_person_is_not_kept(home: Home) -> None:
    forget(home, WHO, at=AT)
    with open_store(home.warehouse) as store:
        store.add_predictions(
            JOB.name, [predicted("p3", WHO, CANARY), predicted("p4", "customer-9", "hello")]
        )
    assert places(home, CANARY) == set()
    assert {row[1] for row in tables(home)["predictions"]} == {"p-other", "p4"}


def test_a_use_case_that_comes_later_forgets_too_unless_one_was_named(home: Home) -> None:
    forget(home, WHO, at=AT, use_cases=[JOB.name])
    with open_store(home.warehouse) as store:
        assert not store.forgotten("later").knows("person", WHO)
    forget(home, WHO, at=AT)
    with open_store(home.warehouse) as store:
        assert store.forgotten("later").knows("person", WHO)
        assert not store.forgotten("later").knows("person", "customer-1001")


def test_without_the_key_nothing_is_taken_in(home: Home) -> None:
    forget(home, WHO, at=AT)
    (home.forget / "key").unlink()
    with pytest.raises(DataError, match="the key that recognises"):
        ingest_inbox(JOB, home, at=AT)


# ---- Who must wait, and what was not there


def test_a_running_night_is_not_disturbed(home: Home) -> None:
    with only_night(home, JOB.name):
        before = hashes(home)
        with pytest.raises(StoreBusy, match=r"^A night of job .*; nobody was forgotten\."):
            forget(home, WHO, at=AT)
        assert hashes(home) == before


def test_somebody_unknown_leaves_no_trace_in_the_plan(home: Home) -> None:
    assert plan(home, "nobody-here").is_empty
    done = forget(home, "nobody-here", at=AT)
    assert done["searched_afterwards"]["found"] == []
    assert done["versions_marked"] == []
    with open_store(home.warehouse) as store:
        assert not diary.retrain_wanted(store, JOB.name)


def test_an_empty_home_has_nothing_to_forget(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert plan(home, WHO).is_empty
    assert [*tmp_path.iterdir()] == []


def test_a_blank_name_is_refused(home: Home) -> None:
    with pytest.raises(FlywheelError, match="blank"):
        plan(home, "  ")


def test_two_people_one_after_the_other(home: Home) -> None:
    forget(home, WHO, at=AT)
    first = tables(home)["rewrites"]
    forget(home, "customer-1001", at=AT + timedelta(hours=1))
    rewritten = {row[1]: row[2] for row in tables(home)["rewrites"]}
    left = {row[1] for row in tables(home)["snapshots"]}
    # what versions learned from leads to what is left of it, however often it was rewritten
    assert {rewritten[row[1]] for row in first} <= left
    assert places(home, "customer-1001") == set()
    assert len([*home.forget.glob("*.md")]) == 2


def test_near_duplicates_of_others_are_shown_and_go_only_when_asked(home: Home) -> None:
    near = theirs(1)["text"].replace("lake", "sea")
    drop(home, "near.jsonl", json_lines(other(60, text=near)))
    ingest_inbox(JOB, home, at=AT)
    (closest,) = _alike(home)
    assert closest == "other-60"
    assert forget(home, WHO, at=AT, alike=True)["near_duplicates_by_others_kept"] == {JOB.name: 0}
    assert "other-60" not in {row[1] for row in tables(home)["feedback"]}


def _alike(home: Home) -> tuple[str, ...]:
    return plan(home, WHO).alike[JOB.name]


# ---- The command


def test_the_command_shows_first_and_does_it_with_yes(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", home.mlflow_uri)
    before = hashes(home)
    shown = CliRunner().invoke(cli, ["forget", WHO])
    assert shown.exit_code == 0
    assert "Add --yes to do it" in shown.stdout
    assert CANARY not in shown.output
    assert hashes(home) == before
    done = CliRunner().invoke(cli, ["forget", WHO, "-u", JOB.name, "--yes", "--json"])
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout)
    assert Path(content["path"]).is_file()
    assert places(home, CANARY) == set()


def test_what_cannot_be_deleted_is_said_and_fails(home: Home) -> None:
    (home.inbox(JOB.name) / "notes.txt").write_text(f"call {WHO} back: {theirs(1)['text']}")
    done = CliRunner().invoke(cli, ["forget", WHO, "--yes"])
    assert done.exit_code == 1
    (page,) = home.forget.glob("*.md")
    assert "still found in inbox/job/notes.txt" in page.read_text()


def test_a_name_in_texts_of_nobodys_is_said_by_every_run_until_it_is_gone(home: Home) -> None:
    forget(home, WHO, at=AT)
    person = "Żaneta Kowalska"
    file = home.inbox("unowned") / "init.jsonl"
    file.parent.mkdir()
    row = {**other(1, customer_id=None, text=f"please call {person}, she waits"), "group_id": None}
    file.write_bytes(json_lines(row, other(2)))
    for _ in range(2):
        shown = CliRunner().invoke(cli, ["forget", person])
        assert shown.exit_code == 1
        assert "inbox/unowned/init.jsonl: 1 rows; it stays there" in shown.stdout
        assert "Nothing here holds" not in shown.stdout
        done = CliRunner().invoke(cli, ["forget", person, "--yes"])
        assert done.exit_code == 1
        assert "NOT COMPLETE" in done.stderr
        assert "inbox/unowned/init.jsonl" in done.stderr
        page = Path(done.stdout.strip()).read_text()
        assert "forgotten in" not in page
        assert "No row of the person was found in any use case." in page
        assert "- still found in inbox/unowned/init.jsonl" in page
    file.write_bytes(json_lines(other(2)))
    shown = CliRunner().invoke(cli, ["forget", person])
    assert (shown.exit_code, shown.stdout) == (0, "Nothing here holds this person.\n")
    assert CliRunner().invoke(cli, ["forget", person, "--yes"]).exit_code == 0


def test_the_dry_run_names_only_what_a_forgetting_leaves(home: Home) -> None:
    assert plan(home, WHO).named_in == ()
    drop(home, "told.jsonl", json_lines(theirs(70), other(71, text=f"so said {WHO}, and left")))
    (one,) = plan(home, WHO).named_in
    assert (one.path, one.rows) == ("inbox/job/told.jsonl", 1)
    assert one.path in "\n".join(forgetting.plan_lines(plan(home, WHO)))
    done = forget(home, WHO, at=AT)
    assert done["searched_afterwards"]["found"] == [one.path]


def test_a_name_within_others_texts_in_the_warehouse_is_said(home: Home) -> None:
    """Also where the file that brought it is gone: it is searched for by nothing else."""
    assert forgetting.said_of_others(plan(home, WHO)) == []
    drop(home, "told.jsonl", json_lines(other(71, text=f"so said {WHO}, and left")))
    ingest_inbox(JOB, home, at=AT)
    for path in (home.inbox(JOB.name) / "done").glob("*told*"):
        path.unlink()
    said = "1 texts by other people in the warehouse name this person and were kept"
    assert said in "\n".join(forgetting.plan_lines(plan(home, WHO)))
    done = forget(home, WHO, at=AT)
    assert any(one.startswith(said) for one in done["not_undone"])
    assert said in "\n".join(forgetting.plan_lines(plan(home, WHO)))


@pytest.mark.parametrize("name", ["48213001", "ann"])
def test_a_name_that_may_mean_anything_is_said_to_be_looked_for_as_an_id(
    home: Home, name: str
) -> None:
    found = plan(home, name)
    assert found.naming is None
    assert "it was looked for as an id and not within texts" in forgetting.plan_lines(found)[-1]


def test_a_plan_survives_the_journal(home: Home) -> None:
    from dataclasses import asdict

    found = plan(home, WHO)
    assert forgetting.plan_from(json.loads(json.dumps(asdict(found)))) == found
