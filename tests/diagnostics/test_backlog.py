"""What waits for later nights is said: of whom, for how long, and what no night looks at."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta

import pytest

from flywheel.config import Home, UseCase
from flywheel.diagnostics import backlog
from flywheel.records import NightRecord
from flywheel.reports.console import status, status_lines
from flywheel.store import open_store
from flywheel.store.feedback.waiting_rows import Queued
from flywheel.store.nights import night_runs
from tasks.curate import curate_snapshot
from tasks.ingest import ingest_inbox
from tests.erasure_fixtures import AT, JOB, drop, json_lines, other

DAY = timedelta(days=1)


def case(**rules: int) -> UseCase:
    return JOB.model_copy(update={"curation": JOB.curation.model_copy(update=rules)})


def live(home: Home, use_case: UseCase, night: int, *, of_big: int) -> str:
    """A night to which one big customer sends rows, and somebody else one; its snapshot."""
    at, first = AT + night * DAY, 100 * (night + 1)
    big = [other(first + n, customer_id="big", source="app") for n in range(of_big)]
    drop(home, f"{night}.jsonl", json_lines(*big, other(first + 99, source="app")))
    ingest_inbox(use_case, home, at=at)
    snapshot = curate_snapshot.fn(use_case, home, at=at).snapshot_id
    with open_store(home.warehouse) as store:
        night_runs.record(
            store,
            use_case.name,
            NightRecord(at, "rejected", [], snapshot_id=snapshot, recorded_at=at),
        )
    return snapshot


def test_a_backlog_that_grows_for_ever_is_named_with_what_ends_it(home: Home) -> None:
    few = case(max_customer_rows=5)
    for night, rows in enumerate((2, 12, 12, 12)):
        live(home, few, night, of_big=rows)
    (found,) = backlog.finding(few, home)
    assert found.detail.startswith("21 rows of 1 customers waited in the last night")
    assert (
        "21 of big, where 12 come in a usual night and 5 were taken in the last: they never end"
        in found.detail
    )
    assert "set curation.max_customer_rows to more than the 12 rows that come" in found.detail
    facts = status(few, home)
    assert facts["backlog"] == [asdict(found)]
    assert f"  backlog: {found.detail}" in status_lines(facts)


def test_a_backlog_that_ends_says_in_how_many_nights_and_none_is_none(home: Home) -> None:
    few = case(max_customer_rows=5)
    for night, rows in enumerate((2, 20, 0, 0)):
        live(home, few, night, of_big=rows)
    (found,) = backlog.finding(few, home)
    assert found.detail.endswith(
        "5 of big, where 0 come in a usual night and 5 were taken in the last: about 1 more nights"
    )
    live(home, few, 4, of_big=0)
    assert backlog.finding(few, home) == []
    assert Queued("big", 21, (3, 3, 50), 5).nights == 11
    assert Queued("big", 21, (5,), 5).nights is None
    assert Queued("big", 21, (), 5).nights is None


@pytest.mark.parametrize(("newest", "lost"), [(10, 8), (200_000, 0)])
def test_rows_that_no_night_will_look_at_are_counted(home: Home, newest: int, lost: int) -> None:
    few = case(max_customer_rows=5, newest=newest)
    live(home, case(max_customer_rows=5), 0, of_big=2)
    snapshot = live(home, few, 1, of_big=17)
    with open_store(home.warehouse) as store:
        (told,) = [s for s in store.steps(few.name, snapshot) if s.rule == "newest"]
    assert told.dropped == lost
    assert (f"{lost} rows that no snapshot has seen are older" in told.detail) is (lost > 0)
    names = [one.name for one in backlog.finding(few, home)]
    assert names == ["backlog", *(["never looked at"] if lost else [])]


def test_the_number_that_is_advised_reaches_the_oldest_row_that_was_never_looked_at(
    home: Home,
) -> None:
    """Rows that a snapshot has seen lie between: the lost ones and the newest were too few."""
    few = case(newest=5)
    live(home, few, 0, of_big=8)
    live(home, few, 1, of_big=4)
    (lost,) = [one for one in backlog.finding(few, home) if one.name == "never looked at"]
    assert "4 rows are older" in lost.detail
    assert "set it to 14 or more" in lost.detail
    assert backlog.finding(case(newest=13), home) != []
    assert backlog.finding(case(newest=14), home) == []
