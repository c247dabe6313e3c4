"""A night that fails is on record and leaves a page, as far as the home can be written to."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest

from flywheel.config import Home, UseCase
from flywheel.errors import DataError, NightOutOfOrder, StoreBusy
from flywheel.records import NightRecord, Promotion
from flywheel.store import open_store
from flywheel.store.nights import night_runs
from flywheel.store.nights.promotions import add_promotion
from tasks.coordination.night_order import require_in_order
from tasks.failure import failure_recorded
from tasks.ingest import ingest_inbox
from tasks.report import page_path, write_page
from tests.strategies import row

AT = datetime(2026, 1, 2, 2, 30, tzinfo=UTC)
AGAIN = "flywheel night -u product-reviews --as-of 2026-01-02T02:30:00"


def fail(use_case: UseCase, home: Home, error: BaseException) -> str | None:
    """The page that a night leaves which ends with ``error``."""
    with pytest.raises(type(error)), failure_recorded(use_case, home, AT):
        raise error
    path = page_path(home, use_case.name, AT)
    return unescape(path.read_text()) if path.exists() else None


def recorded(use_case: UseCase, home: Home) -> list[NightRecord]:
    with open_store(home.warehouse) as store:
        return night_runs.nights(store, use_case.name)


def crown(
    use_case: UseCase, home: Home, version: str, at: datetime, *, braked: bool = False
) -> None:
    step = Promotion(
        at, "braked" if braked else "promoted", version, "d", None, "flywheel", "it was worse"
    )
    with open_store(home.warehouse) as store:
        add_promotion(store, use_case.name, step)


@pytest.mark.parametrize(
    ("error", "why", "advice"),
    [
        (StoreBusy("Another night runs."), "StoreBusy: Another night runs.", "Trying again can"),
        (DataError("Row 3 is odd."), "DataError: Row 3 is odd.", "Trying again without a change"),
        (ValueError("call me at 555"), "ValueError: see the traceback", "did not expect"),
        (KeyboardInterrupt(), "KeyboardInterrupt: see the traceback", "stopped from outside"),
    ],
)
def test_it_says_why_what_state_things_are_in_and_what_to_do(
    home: Home, use_case: UseCase, error: BaseException, why: str, advice: str
) -> None:
    crown(use_case, home, "4", AT.replace(day=1))

    page = fail(use_case, home, error)

    assert page is not None
    assert "The night failed before it could decide; version 4 stays." in page
    assert "version 4 is champion, as before" in page
    assert "0 reactions wait for a snapshot" in page
    assert why in page
    assert advice in page
    assert AGAIN in page
    assert "555" not in page, "an error that was not raised on purpose may hold anybody's words"
    (night,) = recorded(use_case, home)
    assert night.outcome == "failed"
    assert night.reasons[0].detail.startswith(why)


def test_a_champion_that_changed_before_it_failed_is_named(home: Home, use_case: UseCase) -> None:
    crown(use_case, home, "4", AT.replace(day=1))
    crown(use_case, home, "5", AT)
    page = fail(use_case, home, StoreBusy("Busy."))
    assert page is not None
    assert "The night failed after version 5 had become champion." in page
    assert "version 5 became champion in this night" in page


def test_a_rollback_by_the_brake_is_told_by_the_failed_night_and_again_by_the_next(
    home: Home, use_case: UseCase
) -> None:
    crown(use_case, home, "5", AT.replace(day=1))
    crown(use_case, home, "4", AT, braked=True)
    page = fail(use_case, home, StoreBusy("Busy."))
    assert page is not None
    assert "The brake speaks" in page
    assert "it was worse: proven, and rolled back" in page
    (night,) = recorded(use_case, home)
    assert [reason.rule for reason in night.reasons] == ["completed", "brake"]


def test_a_night_that_had_ended_stays_as_it_was(home: Home, use_case: UseCase) -> None:
    with open_store(home.warehouse) as store:
        night_runs.record(store, use_case.name, NightRecord(AT, "rejected", [], recorded_at=AT))
    write_page(home, use_case.name, AT, "as it was")
    assert fail(use_case, home, StoreBusy("Busy.")) == "as it was"
    assert [night.outcome for night in recorded(use_case, home)] == ["rejected"]


def test_without_a_warehouse_there_is_still_a_page(home: Home, use_case: UseCase) -> None:
    home.warehouse.parent.mkdir(parents=True, exist_ok=True)
    home.warehouse.write_bytes(b"no database at all, " * 500)
    page = fail(use_case, home, DataError("The file is odd."))
    assert page is not None
    assert "could not even be written down" in page
    assert "DataError: The file is odd." in page
    assert "there is no model yet" not in page, "that is not known"


def test_where_nothing_can_be_written_the_night_still_raises_what_it_raised(
    home: Home, use_case: UseCase, caplog: pytest.LogCaptureFixture
) -> None:
    folder = home.reports(use_case.name)
    folder.parent.parent.mkdir(parents=True, exist_ok=True)
    folder.parent.write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        assert fail(use_case, home, StoreBusy("Busy.")) is None
    assert "page could not be written" in caplog.text
    assert [night.outcome for night in recorded(use_case, home)] == ["failed"]


# ---- The order of nights

DAY = timedelta(days=1)


def on_record(use_case: UseCase, home: Home, **outcomes: str) -> None:
    with open_store(home.warehouse) as store:
        for day, outcome in outcomes.items():
            at = AT + int(day.removeprefix("day")) * DAY
            night_runs.record(store, use_case.name, NightRecord(at, outcome, [], recorded_at=at))


@pytest.mark.parametrize(
    ("outcomes", "day"),
    [
        ({"day1": "rejected"}, 0),
        ({"day1": "failed"}, 0),
        ({"day0": "failed", "day1": "rejected"}, 0),
        ({"day0": "rejected", "day2": "skipped"}, 1),
    ],
)
def test_a_night_older_than_one_on_record_is_refused(
    home: Home, use_case: UseCase, outcomes: dict[str, str], day: int
) -> None:
    on_record(use_case, home, **outcomes)
    before = recorded(use_case, home)
    with (
        pytest.raises(NightOutOfOrder, match="is on record; nothing was changed"),
        failure_recorded(use_case, home, AT + day * DAY),
    ):
        require_in_order(use_case, home, at=AT + day * DAY)
    assert recorded(use_case, home) == before
    assert not page_path(home, use_case.name, AT + day * DAY).exists()


@pytest.mark.parametrize(
    ("outcomes", "day"),
    [
        ({}, 0),
        ({"day0": "rejected"}, 1),
        ({"day0": "failed"}, 0),
        ({"day0": "failed", "day1": "failed"}, 0),
    ],
)
def test_a_night_in_order_is_lived_and_one_that_failed_is_lived_again(
    home: Home, use_case: UseCase, outcomes: dict[str, str], day: int
) -> None:
    on_record(use_case, home, **outcomes)
    require_in_order(use_case, home, at=AT + day * DAY)


def test_a_night_older_than_all_feedback_is_refused(home: Home, use_case: UseCase) -> None:
    inbox = home.inbox(use_case.name)
    inbox.mkdir(parents=True)
    said = row(value=use_case.label_names[0])
    (inbox / "a.jsonl").write_text(json.dumps(said) + "\n", encoding="utf-8")
    ingest_inbox(use_case, home, at=AT + timedelta(milliseconds=500))
    require_in_order(use_case, home, at=AT)
    with pytest.raises(NightOutOfOrder, match="the first feedback came at 2026-01-02 02:30:00 UTC"):
        require_in_order(use_case, home, at=AT - timedelta(seconds=1))
