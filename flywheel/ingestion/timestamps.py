"""Dates and times as sheets hold them, read column by column.

Whether 3/4 is in March or in April one cell does not say, but a column often does. A time without
a zone is taken for UTC.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

_CLOCK = (
    r"(?:[T ,]+(?P<hour>\d{1,2})[:時](?P<minute>\d{2})(?:[:分](?P<second>\d{2})(?:[.,]\d+)?秒?)?"
    r"分?\s*(?P<half>[AaPp]\.?[Mm]\.?)?)?"
)
_YEAR_FIRST = re.compile(
    r"(?P<year>\d{4})\s?[./年-]\s?(?P<month>\d{1,2})\s?[./月-]\s?(?P<day>\d{1,2})日?" + _CLOCK
)
_YEAR_LAST = re.compile(
    r"(?P<first>\d{1,2})(?P<mark>[./-])\s?(?P<second_>\d{1,2})(?P=mark)\s?(?P<year>\d{4}|\d{2})"
    + _CLOCK
)
_NAMED = ("%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%Y", "%d-%b-%y")
_NAMED_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", ", %I:%M %p", ", %H:%M", ", %H:%M:%S")
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
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
    found = [_moment(cell, months_first=months_first) for cell in cells]
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
        if (match := _YEAR_LAST.match(cell.strip()))
    ]
    if not matches:
        return None, None
    if any(int(match["first"]) > 12 for match in matches):
        return False, None
    if any(int(match["second_"]) > 12 for match in matches):
        return True, None
    if all(match["mark"] == "." for match in matches):
        return False, None
    return None, any(match["half"] for match in matches)


def _moment(cell: object, *, months_first: bool) -> datetime | None:
    if isinstance(cell, datetime):
        return cell
    if isinstance(cell, date):
        return datetime(cell.year, cell.month, cell.day)
    if isinstance(cell, bool):
        return None
    if isinstance(cell, int | float):
        return _since_1970(float(cell))
    if not isinstance(cell, str):
        return None
    cell = cell.strip()
    if re.fullmatch(r"\d{10}(?:\d{3}|\d{6})?(?:\.\d+)?", cell):
        return _since_1970(float(cell))
    for pattern in (_YEAR_FIRST, _YEAR_LAST):
        if match := pattern.fullmatch(cell):
            return _of_parts(match, months_first=months_first)
    return _iso(cell) or _with_a_named_month(cell)


def _iso(cell: str) -> datetime | None:
    if re.fullmatch(r"\d+", cell) and len(cell) != 8:
        return None
    try:
        return datetime.fromisoformat(cell)
    except ValueError:
        return None


def _with_a_named_month(cell: str) -> datetime | None:
    if not re.search(r"[A-Za-z]{3}", cell) or not re.search(r"\d{2}", cell) or len(cell) > 40:
        return None
    for day in _NAMED:
        for clock in _NAMED_CLOCKS:
            try:
                return datetime.strptime(cell, day + clock)
            except ValueError:
                continue
    return None


def _since_1970(number: float) -> datetime | None:
    """Seconds, milliseconds or microseconds since 1970, by how large the number is."""
    for unit in (1, 1e3, 1e6):
        seconds = number / unit
        if EARLIEST.timestamp() <= seconds < 4e9:
            return datetime.fromtimestamp(seconds, UTC)
    return None


def _of_parts(match: re.Match[str], *, months_first: bool) -> datetime | None:
    parts = match.groupdict()
    if "first" in parts:
        month, day = parts["second_"], parts["first"]
        if months_first:
            month, day = day, month
    else:
        month, day = parts["month"], parts["day"]
    year = int(parts["year"])
    year += 2000 if year < 100 else 0
    hour = int(parts["hour"] or 0)
    if half := (parts["half"] or "").casefold():
        hour = hour % 12 + (12 if half.startswith("p") else 0)
    try:
        return datetime(
            year, int(month), int(day), hour, int(parts["minute"] or 0), int(parts["second"] or 0)
        )
    except ValueError:
        return None
