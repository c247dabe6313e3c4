"""Evidence of who is forgotten stays as numbers; what does not hang on them stays as it is."""

from __future__ import annotations

from datetime import timedelta

import pytest

from flywheel.config import Home
from flywheel.dataset import snapshots
from flywheel.records import Example, FreshRow
from flywheel.store import open_store
from flywheel.store.anonymous_evidence import ANONYMOUS
from flywheel.store.nights import fresh_rows
from tasks.curate import curate_snapshot
from tasks.erasure.erase import forget, plan
from tasks.ingest import ingest_inbox
from tests.challengers import go_on_trial
from tests.erasure_fixtures import AT, JOB, drop, json_lines, other, places, predicted

RATER, ASKED = "rater-of-the-house", "customer-1001"
PAIR = {"digest": "d2", "champion_digest": "d1"}
BY_RATER, BY_OTHERS = "what the rater labeled", "what somebody else labeled"
ALONE, ANSWERED = "nobody else labeled this", "what was answered, and rated"


def texts_of(examples: tuple[Example, ...]) -> dict[str, str]:
    return {e.example_id: e.text for e in examples}


@pytest.fixture
def bet(home: Home) -> dict[str, str]:
    """A trial that bet on every example of a snapshot; example id → text."""
    label = {"kind": "label", "value": "card", "rater_id": RATER, "customer_id": None}
    with open_store(home.warehouse) as store:
        answers = [predicted("p1", ASKED, ANSWERED), predicted("p2", ASKED, "another request")]
        store.add_predictions(JOB.name, answers)
    rows = [
        other(1, text=BY_RATER, group_id="talk", **label),
        other(2, text=BY_OTHERS, group_id="talk", value="card"),
        other(7, text=ALONE, group_id="group-4", **label),
        other(4, text=None, prediction_id="p1", kind="accept", value=None, rater_id=RATER)
        | {"group_id": None, "customer_id": None},
        other(5, text=None, prediction_id="p2", kind="accept", value=None)
        | {"group_id": None, "customer_id": None},
    ]
    drop(home, "a.jsonl", json_lines(*rows))
    assert ingest_inbox(JOB, home, at=AT).ingested == len(rows)
    snapshot = curate_snapshot.fn(JOB, home, at=AT)
    examples = snapshots.read(home.snapshots, snapshot.snapshot_id)
    with open_store(home.warehouse) as store:
        go_on_trial(store, JOB.name, JOB.gate, as_of=AT - timedelta(days=1), **PAIR)
        found = [FreshRow(AT, e.example_id, e.group_id, "app", True, False) for e in examples]
        fresh_rows.add_evidence(store, JOB.name, found, **PAIR)
    return texts_of(examples)


def kept(home: Home) -> dict[str, str]:
    """Example id → group of all evidence."""
    with open_store(home.warehouse, read_only=True) as store:
        rows = fresh_rows.evidence(store, JOB.name, **PAIR)
    return {row.example_id: row.group_id for row in rows}


def test_evidence_that_does_not_hang_on_a_rater_stays_as_it_was(
    home: Home, bet: dict[str, str]
) -> None:
    before = kept(home)
    hanging = {name for name, text in bet.items() if text in (BY_RATER, ALONE, ANSWERED)}
    assert len(hanging) == 3
    assert plan(home, RATER).rows[JOB.name]["evidence"] == 3

    done = forget(home, RATER, at=AT)

    after = kept(home)
    assert {name: before[name] for name in before.keys() - hanging} == {
        name: group for name, group in after.items() if not name.startswith(ANONYMOUS)
    }
    groups = sorted(g for name, g in after.items() if name.startswith(ANONYMOUS))
    assert len(groups) == 3
    # of a group that is another's the row keeps it; of the rater's own one it has a random word
    assert [g for g in groups if not g.startswith(ANONYMOUS)] == [ASKED, "talk"]
    assert done["evidence_made_anonymous"] == {JOB.name: 3}
    assert places(home, RATER) == set()
    assert plan(home, RATER).is_empty


def test_what_a_rater_labeled_in_vain_hangs_on_them_too(home: Home, bet: dict[str, str]) -> None:
    """No example names a vote that was outdone: the row is known by its text."""
    drop(home, "b.jsonl", json_lines(other(9, text=BY_OTHERS, group_id="talk", rater_id=RATER)))
    ingest_inbox(JOB, home, at=AT)
    (row,) = (name for name, text in bet.items() if text == BY_OTHERS)
    assert row in kept(home)
    with open_store(home.warehouse) as store:
        # so does a row whose source is named as they are
        store.con.execute("UPDATE evidence SET source = ? WHERE group_id = ?", [RATER, ASKED])
    forget(home, RATER, at=AT)
    assert row not in kept(home)
    assert places(home, RATER) == set()
