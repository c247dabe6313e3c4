"""Who was champion before whom, read off the log of promotions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from flywheel.records import NightRecord, Promotion


def predecessors(log: Sequence[Promotion], champion: str) -> list[str]:
    """The champions to go back to from ``champion``, the nearest first.

    A version that came back, by whatever hand, is where it was in the line before: what was
    champion between is not gone back to. So each rollback leads further back, never forth.
    """
    line: list[str] = []
    for step in log:
        if not line and step.before is not None:
            line.append(step.before)
        _add(line, step.version)
    _add(line, champion)
    return line[-2::-1] if len(line) > 1 else []


def untold_brakes(
    log: Sequence[Promotion], nights: Iterable[NightRecord], *, at: datetime
) -> list[Promotion]:
    """The times that the brake went back before ``at`` and no night that ended has said so.

    Such a night was killed, or failed, after the champion had changed; ``nights`` as the store
    gives them.
    """
    told = [
        night.as_of
        for night in nights
        if not night.failed and night.as_of < at and night.holds("brake", passed=False)
    ]
    return [
        step
        for step in log
        if step.action == "braked" and step.at <= at and not any(one >= step.at for one in told)
    ]


def told_by_nights(nights: Iterable[NightRecord]) -> list[Promotion]:
    """The promotions that nights tell of, for homes from before promotions were recorded."""
    found: list[Promotion] = []
    for night in nights:
        if night.outcome == "promoted" and "version" in night.facts:
            found.append(
                Promotion(
                    at=night.as_of,
                    action="promoted",
                    version=str(night.facts["version"]),
                    digest=str(night.digest),
                    before=found[-1].version if found else None,
                    who="flywheel",
                    why="the night's verdict, recorded afterwards",
                )
            )
    return found


def _add(line: list[str], version: str) -> None:
    if version in line:
        del line[line.index(version) + 1 :]
    else:
        line.append(version)
