"""Dates and times as sheets hold them, read column by column.

Whether 3/4 is in March or in April one cell does not say, but a column often does. A time without
a zone is taken for UTC.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flywheel.ingestion import timestamp_cells
from flywheel.ingestion.timestamp_cells import EARLIEST

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Moments:
    """One moment for each cell, None where none could be read. ``notes`` say what was assumed.

    ``months_first``: whether the cells themselves say that 3/4 is in March; None: they do not tell.
    """

    found: tuple[datetime | None, ...]
    notes: tuple[str, ...]
    months_first: bool | None = None


def read(cells: Sequence[object], *, now: datetime, months_first: bool | None = None) -> Moments:
    """Read a column. A moment before 1990, or more than a day after ``now``, is none.

    ``months_first`` is what an earlier column of the same system said, for cells that do not tell.
    """
    told, guessed = _months_first(cells)
    doubtful = told is None and guessed is not None and months_first is None
    months_first = next((one for one in (told, months_first, guessed) if one is not None), False)
    found = [timestamp_cells.moment(cell, months_first=months_first) for cell in cells]
    zones = Counter(one.tzinfo is None for one in found if one is not None)
    aware = [one if one is None or one.tzinfo else one.replace(tzinfo=UTC) for one in found]
    notes = []
    if doubtful and any(found):
        order = "month/day" if months_first else "day/month"
        notes.append(f"its dates could be read in two ways; taken as {order}/year")
    if zones[True]:
        notes.append("its times name no zone; taken as UTC")
    return Moments(tuple(_within(one, now) for one in aware), tuple(notes), told)


def share_read(cells: Sequence[object], *, now: datetime) -> float:
    """How many of the cells that are filled hold a moment, in [0, 1]."""
    filled = [cell for cell in cells if cell is not None and str(cell).strip()]
    if not filled:
        return 0.0
    return sum(one is not None for one in read(filled, now=now).found) / len(filled)


def _within(one: datetime | None, now: datetime) -> datetime | None:
    if one is None:
        return None
    try:
        one = one.astimezone(UTC)
    except OverflowError:
        return None
    return one if EARLIEST <= one <= now + _DAY else None


def _months_first(cells: Sequence[object]) -> tuple[bool | None, bool | None]:
    """Whether the month comes first where the year is last: as the cells say, and as a guess."""
    matches = [
        match
        for cell in cells
        if isinstance(cell, str)
        if (match := timestamp_cells.YEAR_LAST.match(timestamp_cells.plain(cell)))
    ]
    if not matches:
        return None, None
    if any(int(match["first"]) > 12 for match in matches):
        return False, None
    if any(int(match["second_"]) > 12 for match in matches):
        return True, None
    if all(match["mark"] == "." for match in matches):
        return False, None
    return None, any((match["half"] or "")[:1] in tuple("aApP") for match in matches)
