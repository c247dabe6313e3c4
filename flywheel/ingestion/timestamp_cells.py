"""One cell that holds a moment, as people and programs write it.

Which of day and month comes first where the year is last, the column says
(`flywheel.ingestion.timestamps`). A moment may name its zone by an offset, by an abbreviation, or
by the name of a place in brackets; without one it has none here.
"""

from __future__ import annotations

import re
import unicodedata
import zoneinfo
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo

EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
_CLOCK = (
    r"(?:(?:[T ,]|\bum\b|\bat\b|\bà)+(?P<before>午前|午後|上午|下午|오전|오후)?\s?"
    r"(?P<hour>\d{1,2})[:時h]"
    r"(?P<minute>\d{2})(?:[:分](?P<second>\d{2})(?:[.,](?P<part>\d+))?秒?)?分?"
    r"\s*(?P<half>[AaPp]\.?\s?[Mm]\.?|vorm\.?|nachm\.?)?(?: Uhr)?)?"
)
_YEAR_FIRST = re.compile(
    r"(?P<year>\d{4})\s?[./年-]\s?(?P<month>\d{1,2})\s?[./月-]\s?(?P<day>\d{1,2})日?" + _CLOCK
)
YEAR_LAST = re.compile(
    r"(?P<first>\d{1,2})(?P<mark>[./-])\s?(?P<second_>\d{1,2})(?P=mark)\s?(?P<year>\d{4}|\d{2})"
    + _CLOCK
)
_WEEKDAY = r"(?:[^\W\d]{2,12}\.?,?\s+)?"
_DAY_NAMED = re.compile(
    _WEEKDAY + r"(?P<day>\d{1,2})(?:\.|er|º)?[\s-]\s?(?:de\s)?(?P<name>[^\W\d_]{3,10})\.?,?[\s-]"
    r"\s?(?:de\s)?(?P<year>\d{4}|\d{2})" + _CLOCK
)
_NAMED_DAY = re.compile(
    _WEEKDAY + r"(?P<name>[^\W\d_]{3,10})\.?\s+(?P<day>\d{1,2})(?:st|nd|rd|th)?,?\s+(?P<year>\d{4})"
    + _CLOCK
)  # fmt: skip
_YEAR_AFTER_CLOCK = re.compile(
    r"(?P<start>[A-Z][a-z]{2} [A-Z][a-z]{2} +\d{1,2}) (?P<clock>\d{1,2}:\d{2}:\d{2})"
    r"(?P<zone> [+-]\d{4}| [A-Z]{1,4})? (?P<year>\d{4})"
)
"""As C and some programming interfaces print it: Fri Jan 02 10:00:00 +0000 2026."""
_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "jan january januar jänner janvier janv enero ene gennaio gen janeiro januari",
            "feb february februar février févr fév febrero febbraio fevereiro fev februari",
            "mar march märz mrz mär mars marzo março maart mrt",
            "apr april avril avr abril abr aprile",
            "may mai mayo maggio mag maio mei",
            "jun june juni juin junio giugno giu junho",
            "jul july juli juillet juil julio luglio lug julho",
            "aug august août agosto ago augustus",
            "sep sept september septembre septiembre settembre set setembro",
            "oct october oktober okt octobre octubre ottobre ott outubro out",
            "nov november novembre noviembre novembro",
            "dec december dezember dez décembre déc diciembre dic dicembre dezembro",
        ),
        start=1,
    )
    for name in names.split()
}
_HOURS_EAST = {
    "Z": 0, "UT": 0, "UTC": 0, "GMT": 0, "WET": 0, "CET": 1, "MEZ": 1, "CEST": 2, "MESZ": 2,
    "EET": 2, "EEST": 3, "MSK": 3, "JST": 9, "EDT": -4, "EST": -5, "CDT": -5, "CST": -6, "MDT": -6,
    "MST": -7, "PDT": -7, "PST": -8,
}  # fmt: skip
"""Abbreviations that mean one offset; those of America are as in mail (RFC 5322)."""
_ZONE = re.compile(
    r"(?P<rest>.*?[\d.mM秒分]) ?(?P<name>[A-Za-z]{1,4})?(?P<offset>[+-]\d{1,2}(?::?\d{2})?)?"
)
_PLACE = re.compile(r"(?P<rest>.*\S)\s?\[(?P<place>[\w+-]+(?:/[\w+-]+)*)\]")
_REMARK = re.compile(r"\s\([^()]*\)")
_LONGEST = 80


def moment(cell: object, *, months_first: bool) -> datetime | None:
    """The moment in a cell, without a zone where it names none; None where it holds no moment."""
    if isinstance(cell, datetime):
        return cell
    if isinstance(cell, date):
        return datetime(cell.year, cell.month, cell.day)
    if isinstance(cell, bool):
        return None
    if isinstance(cell, int | float):
        return _since_1970(float(cell))
    return _of_text(plain(cell), months_first) if isinstance(cell, str) else None


def plain(cell: str) -> str:
    """A cell with plain spaces and digits: libraries put narrow spaces before AM."""
    return " ".join(unicodedata.normalize("NFKC", cell[: 2 * _LONGEST]).split())


def _of_text(cell: str, months_first: bool) -> datetime | None:
    if len(cell) > _LONGEST:
        return None
    if re.fullmatch(r"\d{10}(?:\d{3}|\d{6}|\d{9})?(?:\.\d+)?", cell):
        return _since_1970(float(cell))
    return _without_zone(cell, months_first) or _with_zone(cell, months_first)


def _without_zone(cell: str, months_first: bool) -> datetime | None:
    for pattern in (_YEAR_FIRST, YEAR_LAST, _DAY_NAMED, _NAMED_DAY):
        if match := pattern.fullmatch(cell):
            return _of_parts(match, months_first=months_first)
    return _iso(cell)


def _with_zone(cell: str, months_first: bool) -> datetime | None:
    """A moment that says its zone behind its clock."""
    if turned := _YEAR_AFTER_CLOCK.fullmatch(cell):
        cell = f"{turned['start']} {turned['year']} {turned['clock']}{turned['zone'] or ''}"
    zone: tzinfo | None = None
    if named := _PLACE.fullmatch(cell):
        cell, zone = named["rest"], _zone_of_place(named["place"])
        if zone is None:
            return None
    cell = _REMARK.sub("", cell)
    found = _without_zone(cell, months_first)
    if found is None:
        match = _ZONE.fullmatch(cell)
        if match is None or not (match["name"] or match["offset"]) or ":" not in match["rest"]:
            return None
        zone, cell = _zone(match["name"], match["offset"]), match["rest"]
        found = None if zone is None else _without_zone(cell, months_first)
    return found if found is None or found.tzinfo else found.replace(tzinfo=zone)


def _zone(name: str | None, offset: str | None) -> tzinfo | None:
    """UTC, GMT+2, +0100, CEST; None of what means several offsets or none."""
    east = _HOURS_EAST.get((name or "UTC").upper())
    if east is None or (offset and east):
        return None
    digits = (offset or "+0")[1:].replace(":", "")
    hours, minutes = (digits[:-2], digits[-2:]) if len(digits) > 2 else (digits, "0")
    away = timedelta(hours=int(hours), minutes=int(minutes))
    if away >= timedelta(hours=24):
        return None
    return timezone(timedelta(hours=east) + (-away if (offset or "+")[0] == "-" else away))


def _zone_of_place(name: str) -> tzinfo | None:
    try:
        return zoneinfo.ZoneInfo(name)
    except (LookupError, OSError, ValueError):
        return None


def _iso(cell: str) -> datetime | None:
    if re.fullmatch(r"\d+", cell) and len(cell) != 8:
        return None
    try:
        return datetime.fromisoformat(cell)
    except ValueError:
        return None


def _since_1970(number: float) -> datetime | None:
    """Seconds, or thousandths of them and so on, since 1970, by how large the number is."""
    for unit in (1, 1e3, 1e6, 1e9):
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
        month, day = parts.get("month") or _MONTHS.get(parts["name"].casefold()), parts["day"]
    year = int(parts["year"])
    year += 2000 if year < 100 else 0
    hour = int(parts["hour"] or 0)
    half = (parts["half"] or parts["before"] or "").casefold()
    if half and hour <= 12:
        hour = hour % 12 + (12 if half[:1] in "pn" or half in ("午後", "下午", "오후") else 0)
    micro = int(f"{parts['part'] or 0:0<6}"[:6])
    second, minute = int(parts["second"] or 0), int(parts["minute"] or 0)
    try:
        return datetime(year, int(month or 0), int(day), hour, minute, second, micro)
    except ValueError:
        return None
