"""Write a night that failed down, and leave a page that says why and what to do next."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime

from flywheel import reports
from flywheel.config import Home, UseCase
from flywheel.errors import (
    FlywheelError,
    NightOutOfOrder,
    TerminalError,
    TransientError,
    UnusualFeedback,
)
from flywheel.records import NightRecord, Reason
from flywheel.reports.night_report import NightReport
from flywheel.store import open_store
from flywheel.store.nights import night_runs
from flywheel.store.nights.promotions import promotions
from tasks.notify import tell
from tasks.record import brakes_to_tell, past
from tasks.report import link_pages, page_path, rewrite_page, write_page

log = logging.getLogger(__name__)


@contextmanager
def failure_recorded(use_case: UseCase, home: Home, as_of: datetime) -> Iterator[None]:
    """Write a night that raises down as failed, with a page, and let it raise.

    Record and page are written as far as the home can be written to. Only errors raised on purpose
    are quoted: any other message may hold a customer's text. A night that has ended before stays as
    it was recorded, and one that is out of order was never begun.
    """
    try:
        yield
    except NightOutOfOrder:
        raise
    except BaseException as error:
        refused = _refused_before(error)
        reason = Reason("completed", False, _told(refused or error))
        try:
            facts = _recorded(use_case, home, reason, _brake(error, refused), at=as_of)
        except (FlywheelError, OSError) as unwritten:
            log.warning("the failed night could not be written down: %s", unwritten)
            known = page_path(home, use_case.name, as_of).exists()
            facts = None if known else _unrecorded(reason, unwritten)
        if facts is not None:
            _leave_page(use_case, home, facts, _what_next(use_case, error, at=as_of), at=as_of)
        error.add_note(_stopped(facts))
        raise


def _told(error: BaseException) -> str:
    said = str(error) if isinstance(error, FlywheelError) else "see the traceback in the log"
    return f"{type(error).__name__}: {said}"


def _refused_before(error: BaseException) -> UnusualFeedback | None:
    """The refusal that a night was about to end with when ``error`` came, as its brake was asked.

    A person who stops the night is no error.
    """
    found = error.__context__ if isinstance(error, Exception) else None
    while found is not None and not isinstance(found, UnusualFeedback):
        found = found.__context__
    return found


def _brake(error: BaseException, refused: UnusualFeedback | None) -> Reason | None:
    """What the brake found in a night that refused its feedback, or what it failed with."""
    if refused is not None:
        return Reason("brake", None, f"the champion was not watched tonight: {_told(error)}")
    found = error.facts.get("brake") if isinstance(error, UnusualFeedback) else None
    return found if isinstance(found, Reason) else None


def _stopped(facts: NightReport | None) -> str:
    """What to say of the night where a person stopped it."""
    if facts is None or "champion_version" not in facts:
        return "Stopped. flywheel status says who is champion; run it again to continue."
    moved = facts["failure"]["moved"]
    what = f"Version {moved} had become champion" if moved else "Nothing was promoted"
    return f"Stopped. {what}; run it again to continue."


def _recorded(
    use_case: UseCase, home: Home, reason: Reason, brake: Reason | None, *, at: datetime
) -> NightReport | None:
    """What the page is made of, once the night is on record; None when it had ended before."""
    with open_store(home.warehouse) as store:
        nights = night_runs.nights(store, use_case.name)
        moves = promotions(store, use_case.name)
        waiting = store.waiting(use_case.name)
    if any(one.as_of == at and not one.failed for one in nights):
        return None
    brakes = [*([brake] if brake else []), *brakes_to_tell(use_case, home, brake, at=at)]
    night = NightRecord(at, "failed", (reason, *brakes), recorded_at=at)
    with open_store(home.warehouse) as store:
        night_runs.record(store, use_case.name, night)
    before = [move for move in moves if move.at < at]
    moved = moves[-1].version if moves and moves[-1].at == at else None
    if moved:
        champion = f"version {moved} became champion in this night, before it failed"
    elif moves:
        champion = f"version {moves[-1].version} is champion, as before"
    else:
        champion = "there is no champion yet"
    history = [one for one in nights if one.as_of < at]
    return {
        "reasons": [asdict(one) for one in night.reasons],
        "champion_version": before[-1].version if before else None,
        "history": [past(one) for one in [*history, night]],
        "failure": {
            "moved": moved,
            "state": [
                f"By the log of promotions {champion}.",
                f"No feedback was lost: {waiting} reactions wait for a snapshot, the others are in "
                "one, or in the inbox.",
                "What the night had finished (snapshot, adapter, answers) is kept, and is not made "
                "again.",
            ],
        },
    }


def _unrecorded(reason: Reason, unwritten: Exception) -> NightReport:
    said = str(unwritten) if isinstance(unwritten, FlywheelError) else type(unwritten).__name__
    state = [
        f"The night is not on record, and what state things are in was not read: {said}",
        "A night writes whole or not at all, so that the champion is the one that the alias names.",
    ]
    return {"reasons": [asdict(reason)], "failure": {"moved": None, "state": state}}


def _what_next(use_case: UseCase, error: BaseException, *, at: datetime) -> str:
    again = (
        f"flywheel night -u {use_case.name} --as-of {at.astimezone(UTC):%Y-%m-%dT%H:%M:%S} lives "
        "this night again, from where it stopped; the next scheduled night does its work, too."
    )
    if isinstance(error, TransientError):
        return f"Trying again can help. {again}"
    if isinstance(error, TerminalError):
        return f"Trying again without a change cannot help: see to what it says above. Then {again}"
    if isinstance(error, Exception):
        return f"flywheel did not expect this error: its traceback is in the run's log. {again}"
    return f"The night was stopped from outside. {again}"


def _leave_page(
    use_case: UseCase, home: Home, facts: NightReport, what_next: str, *, at: datetime
) -> None:
    shown: NightReport = {
        "use_case": use_case.name,
        "description": use_case.description,
        "as_of": at.isoformat(),
        "outcome": "failed",
        "version": None,
        **facts,
        "failure": {**facts["failure"], "next": what_next},
    }
    try:
        path = write_page(home, use_case.name, at, reports.page(shown))
    except OSError as unwritten:
        log.warning("the failed night's page could not be written: %s", unwritten)
        tell(use_case, shown, [], page=None)
        return
    log.info("night %s ended failed; report %s", at.isoformat(), path.name)
    if untold := tell(use_case, shown, [], page=path):
        rewrite_page(home, use_case.name, at, reports.page({**shown, "untold": untold}))
    link_pages(use_case, home, at)
