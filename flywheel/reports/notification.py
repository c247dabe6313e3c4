"""What people are told of a night, outside its page: no customer's word, no row, no secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flywheel.config.notify import Event, NotifyConfig
from flywheel.records import NightRecord
from flywheel.reports.headline import BRAKE, headline
from flywheel.reports.night_report import NightReport

WORN: Final = "holdout_worn"
"""The fact of a night whose holdout was worn."""


@dataclass(frozen=True)
class Notification:
    """One message. ``bad``: a person should look soon."""

    event: Event
    title: str
    body: str
    bad: bool


def notifications(
    wanted: NotifyConfig,
    night: NightReport,
    before: Sequence[NightRecord],
    *,
    page: Path | None,
) -> list[Notification]:
    """What to tell of a night, as its page knows it.

    ``before`` are the nights on record before it, the oldest first.
    """
    return [
        Notification(
            event=event,
            title=f"flywheel: {night['use_case']}: {event.replace('_', ' ')}",
            body=_body(event, night, wanted.quiet_nights, page),
            bad=event in _BAD,
        )
        for event in _events(night, before, wanted.quiet_nights)
        if event in wanted.events
    ]


_BAD = ("failed", "brake", "feedback_dried_up")


def _events(night: NightReport, before: Sequence[NightRecord], quiet: int) -> Iterator[Event]:
    outcome = night["outcome"]
    if outcome == "promoted":
        yield "promoted"
    if outcome == "awaiting_approval":
        yield "awaiting_approval"
    if outcome == "failed":
        yield "failed"
    if any(one["rule"] == BRAKE and one["passed"] is False for one in night["reasons"]):
        yield "brake"
    lived = [one.facts for one in before if not one.failed]
    if outcome != "failed" and _dried_up(night, lived, quiet):
        yield "feedback_dried_up"
    if night.get(WORN) and not any(facts.get(WORN) for facts in lived[-1:]):
        yield "holdout_worn"


def _dried_up(night: NightReport, lived: Sequence[Mapping[str, Any]], nights: int) -> bool:
    """Whether this is the night that makes ``nights`` in a row without feedback, after some."""
    read = [one.get("feedback_read") for one in (*lived, night)]
    return len(read) > nights and not any(read[-nights:]) and bool(read[-nights - 1])


def _body(event: Event, night: NightReport, quiet: int, page: Path | None) -> str:
    name = night["use_case"]
    said = {
        "promoted": headline(night),
        "awaiting_approval": f"{headline(night)} To approve it: flywheel approve -u {name}",
        "failed": f"{headline(night)} Its page says why, and what to do.",
        "brake": "The champion was worse than the one before it, and was rolled back, or waits for "
        f"a person to do so: flywheel status -u {name} says which.",
        "feedback_dried_up": f"No feedback came in {quiet} nights in a row, so that nothing is "
        f"learned. Look at what sends it: flywheel doctor -u {name}",
        "holdout_worn": "The holdout has answered so many questions that it sees only large gains. "
        f"To let it grow: flywheel queue -u {name} --audit-share 1",
    }[event]
    lines = [said, f"Night of {night['as_of']}."]
    if page is not None:
        lines.append(f"Page: {page}")
    return "\n".join(lines)
