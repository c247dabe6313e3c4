"""The nights after a forgetting: trained without the person, and nothing bet on twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from flywheel.config import Home
from flywheel.dataset import snapshots
from flywheel.privacy import erasure_plan
from flywheel.records import FreshRow, NightRecord, Reason, Snapshot
from flywheel.store import erasure as warehouse
from flywheel.store import open_store
from flywheel.store.feedback import labeling
from flywheel.store.nights import fresh_rows, night_runs, trials
from flywheel.tracking.registry import Registry
from tasks.curate import curate_snapshot, reason_to_skip
from tasks.erasure.erase import certificate_path, forget, plan
from tasks.fresh_evidence import fresh_examples
from tasks.ingest import ingest_inbox
from tests.challengers import go_on_trial
from tests.erasure_fixtures import (
    AT,
    CANARY,
    JOB,
    SHARED,
    WHO,
    drop,
    json_lines,
    other,
    tables,
    theirs,
)

IN_HOLDOUT = "customer-1006"
"""Who has a row in the newest snapshot's holdout, and no other."""

IN_TRAINING = "customer-1004"


def test_the_next_night_trains_without_the_person(home: Home) -> None:
    assert reason_to_skip(JOB, home, Snapshot(tables(home)["nights"][1][5], 100, 0, 0)) is not None
    forget(home, WHO, at=AT)
    snapshot = curate_snapshot.fn(JOB, home, at=AT + timedelta(days=3))
    assert reason_to_skip(JOB, home, snapshot) is None
    texts = [e.text for e in snapshots.read(home.snapshots, snapshot.snapshot_id)]
    assert SHARED in texts
    assert not [text for text in texts if CANARY in text]


def test_the_night_after_counts_what_is_left(home: Home) -> None:
    forget(home, IN_HOLDOUT, at=AT)
    rewritten = newest_snapshot(home).snapshot_id
    snapshot = curate_snapshot.fn(JOB, home, at=AT + timedelta(days=3))
    assert snapshot.snapshot_id == rewritten, "nobody else is concerned"
    with open_store(home.warehouse) as store:
        left = len(store.reactions(JOB.name))
        assert store.steps(JOB.name, rewritten)[0].seen == left


def judge(home: Home) -> None:
    """A night that trained on the newest snapshot, and scored what came of it."""
    name = newest_snapshot(home).snapshot_id
    splits = Counter(e.split for e in snapshots.read(home.snapshots, name))
    counts = {"train_examples": splits["train"], "holdout_examples": splits["holdout"]}
    at, facts = AT + timedelta(days=2), {"version": "2", **counts}
    with open_store(home.warehouse) as store:
        night_runs.record(
            store,
            JOB.name,
            NightRecord(at, "rejected", [], facts, snapshot_id=name, digest="d2", recorded_at=AT),
        )


def next_night(home: Home) -> Reason | None:
    """Why a night after a forgetting does not train; nobody else asked for a retrain."""
    ingest_inbox(JOB, home, at=AT)
    snapshot = curate_snapshot.fn(JOB, home, at=AT + timedelta(days=3))
    with open_store(home.warehouse) as store:
        # as a night that trained lands it
        store.con.execute("UPDATE retrains SET landed_in = now()")
    return reason_to_skip(JOB, home, snapshot)


def test_the_holdout_is_not_asked_again_about_the_same_training_rows(home: Home) -> None:
    (home.inbox(JOB.name) / "waits.jsonl").unlink()
    judge(home)
    before = newest_snapshot(home)
    done = forget(home, IN_HOLDOUT, at=AT)
    assert [one["holdout_removed"] for one in done["snapshots"]] == [1, 1]
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
        assert not night_runs.retrain_wanted(store, JOB.name)


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
        pytest.param([other(n, source="desk", group_id="group-6") for n in (70, 71)], id="holdout"),
    ],
)
def test_new_rows_are_something_new_after_a_forgetting(
    home: Home, new: list[dict[str, Any]]
) -> None:
    (home.inbox(JOB.name) / "waits.jsonl").unlink()
    judge(home)
    forget(home, IN_HOLDOUT, at=AT)
    drop(home, "new.jsonl", json_lines(*new))
    why_not = next_night(home)
    assert why_not is None or why_not.rule != "something_new"


def test_a_snapshot_judged_before_is_trained_on_again_until_that_night_lands(home: Home) -> None:
    forget(home, WHO, at=AT)
    snapshot = curate_snapshot.fn(JOB, home, at=AT)
    night = NightRecord(AT + timedelta(days=5), "rejected", [], {}, snapshot.snapshot_id)
    with open_store(home.warehouse) as store:
        night_runs.record(store, JOB.name, night)
        assert night_runs.retrain_wanted(store, JOB.name)
        night_runs.record(store, JOB.name, replace(night, digest="d5"))
        assert not night_runs.retrain_wanted(store, JOB.name)
    assert reason_to_skip(JOB, home, replace(snapshot, train=100)) is not None
    with open_store(home.warehouse) as store:
        warehouse.delete_rows(store, [], WHO, retrain=[JOB.name], certificate_id="another")
    assert reason_to_skip(JOB, home, replace(snapshot, train=100)) is None


def on_trial(home: Home) -> trials.Standing:
    """A challenger that went on trial before anybody reacted: neither learned from theirs."""
    with open_store(home.warehouse) as store:
        return go_on_trial(
            store,
            JOB.name,
            JOB.gate,
            as_of=AT - timedelta(days=1),
            digest="tried",
            champion_digest="stood",
        )


def newest_snapshot(home: Home) -> Snapshot:
    with open_store(home.warehouse, read_only=True) as store:
        newest = labeling.newest_snapshot(store, JOB.name)
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_name_leaves_evidence_that_a_rater_was_taken_out_of_before(home: Home) -> None:
    """Who labeled a row was forgotten first, then who had asked, by whom evidence is grouped."""
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


@pytest.mark.slow
def test_nothing_a_challenger_learned_from_is_fresh_after_a_forgetting(home: Home) -> None:
    one = replace(on_trial(home), snapshot_id=newest_snapshot(home).snapshot_id)
    case = JOB.model_copy(
        update={"gate": JOB.gate.model_copy(update={"evidence_sources": ["app"]})}
    )
    assert fresh_examples(case, home, newest_snapshot(home), one) == []
    forget(home, IN_HOLDOUT, at=AT)
    assert newest_snapshot(home).snapshot_id != one.snapshot_id
    assert fresh_examples(case, home, newest_snapshot(home), one) == []


def test_the_certificate_says_what_stays_of_evidence(home: Home) -> None:
    on_trial(home)
    bet_on(home, AT + timedelta(days=1))
    planned = plan(home, WHO)
    assert planned.rows[JOB.name]["evidence"] > 0
    assert "who was right stays" in "\n".join(erasure_plan.plan_lines(planned))
    done = forget(home, WHO, at=AT)
    assert done["searched_afterwards"]["found"] == []
    assert "evidence" not in done["rows_deleted"][JOB.name]
    assert done["evidence_made_anonymous"] == {JOB.name: planned.rows[JOB.name]["evidence"]}
    assert "who was right stays" in certificate_path(home, done["certificate_id"]).read_text()
    assert plan(home, WHO).is_empty
