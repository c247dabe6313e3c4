"""What the holdout can show is not spent by one customer, nor by feedback that nobody looked at."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from flywheel.config import GateConfig, Home
from flywheel.gate.holdout_budget import NIGHTS, RULE, Since, spared
from flywheel.records import NightRecord
from flywheel.store import open_store
from flywheel.store.feedback import changes
from flywheel.store.nights import night_runs, trials
from tasks.curate import curate_snapshot, reason_to_skip
from tasks.ingest import ingest_inbox
from tests.erasure_fixtures import AT, JOB, drop, json_lines, other

DAY = timedelta(days=1)
LIMITS = GateConfig(min_accuracy=0.5)
ALONE = Since(nights=1, rows=1, customers=1, others=0, known=40)


def test_one_customers_rows_alone_ask_the_holdout_nothing() -> None:
    reason = spared(ALONE, LIMITS)
    assert reason is not None
    assert (
        "all 1 rows since the holdout was last asked came from one customer of 40" in reason.detail
    )


@pytest.mark.parametrize(
    "honest",
    [
        replace(ALONE, customers=2),
        replace(ALONE, customers=0, others=1),
        replace(ALONE, others=1),
        replace(ALONE, known=2),
        replace(ALONE, nights=NIGHTS),
        replace(ALONE, nights=None),
        replace(ALONE, rows=0, customers=0),
    ],
)
def test_anybody_else_ends_the_wait_and_so_does_a_week(honest: Since) -> None:
    assert spared(honest, LIMITS) is None


def test_whose_rows_came_since_the_holdout_was_asked_is_counted(home: Home) -> None:
    own = {"desk", "audit", "queue"}

    def came(night: int, *rows: dict[str, object]) -> Since:
        drop(home, f"{night}.jsonl", json_lines(*rows))
        ingest_inbox(JOB, home, at=AT + night * DAY)
        snapshot = curate_snapshot.fn(JOB, home, at=AT + night * DAY)
        reasons.append(reason_to_skip(JOB, home, snapshot))
        with open_store(home.warehouse) as store:
            lived = NightRecord(AT + night * DAY, "undecided", [], {}, snapshot.snapshot_id)
            night_runs.record(store, JOB.name, lived)
            return changes.since_asked(store, JOB.name, own=own)

    reasons: list[object] = []
    first = came(0, *(other(n) for n in range(24)))
    assert (first.nights, first.rows) == (None, 0)
    with open_store(home.warehouse) as store:
        granted = trials.ask(
            store, JOB.name, as_of=AT, digest="d", champion_digest="c", rows=9, rules=LIMITS
        )
    assert granted is not None
    mallory = {"customer_id": "mallory", "source": "app"}
    assert came(1, other(30, **mallory), other(31, **mallory)) == Since(1, 2, 1, 0, 25)
    assert came(2, other(33)) == Since(2, 3, 1, 1, 26), "a label of the company's own"
    assert came(3, other(34, source="app")) == Since(3, 4, 2, 1, 27)
    assert [getattr(reason, "rule", None) == RULE for reason in reasons] == [
        False, True, False, False,
    ]  # fmt: skip
