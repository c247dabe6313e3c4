"""A column of times is read as its other cells say; what cannot be one is none."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from flywheel.ingestion import timestamps

NOW = datetime(2026, 6, 1, tzinfo=UTC)
AT = datetime(2026, 2, 3, 14, 22, tzinfo=UTC)
DAY = datetime(2026, 2, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cell", "moment"),
    [
        ("2026-02-03T14:22:00Z", AT),
        ("2026-02-03 15:22:00+01:00", AT),
        ("2026-02-03 14:22", AT),
        ("03.02.2026 14:22", AT),
        ("3.2.26", DAY),
        ("2026/2/3", DAY),
        ("2026年2月3日", DAY),
        ("2026年2月3日 14:22", AT),
        ("Feb 3, 2026 2:22 PM", AT),
        ("3 February 2026", DAY),
        ("20260203", DAY),
        ("1770128520", AT),
        (1770128520, AT),
        (1770128520000, AT),
        (1770128520000.0, AT),
        ("1770128520000000000", AT),
        (1770128520000000000, AT),
        (date(2026, 2, 3), DAY),
        (datetime(2026, 2, 3, 15, 22, tzinfo=timezone(timedelta(hours=1))), AT),
    ],
)
def test_what_sheets_hold_is_read(cell: object, moment: datetime) -> None:
    assert timestamps.read([cell], now=NOW).found == (moment,)


@pytest.mark.parametrize(
    "cell",
    ["", None, "soon", "48213", 17, True, "31.02.2026", "2062-01-01", "1970-01-01", ["2026"]],
)
def test_what_is_no_moment_of_ours_is_none(cell: object) -> None:
    assert timestamps.read([cell], now=NOW).found == (None,)


def test_one_cell_settles_for_its_column_which_is_the_month() -> None:
    third = [datetime(2026, 3, 4, tzinfo=UTC), datetime(2026, 3, 25, tzinfo=UTC)]
    assert timestamps.read(["3/4/2026", "3/25/2026"], now=NOW).found == tuple(third)
    assert timestamps.read(["4/3/2026", "25/3/2026"], now=NOW).found == tuple(third)


def test_where_no_cell_settles_it_that_is_said() -> None:
    found = timestamps.read(["3/4/2026"], now=NOW)
    assert found.found == (datetime(2026, 4, 3, tzinfo=UTC),)
    assert any("two ways" in note and "day/month" in note for note in found.notes)
    american = timestamps.read(["3/4/2026 2:22 PM"], now=NOW)
    assert american.found == (datetime(2026, 3, 4, 14, 22, tzinfo=UTC),)


def test_a_time_without_a_zone_is_utc_and_that_is_said() -> None:
    assert any("UTC" in note for note in timestamps.read(["2026-02-03 14:22"], now=NOW).notes)
    assert timestamps.read(["2026-02-03 14:22Z"], now=NOW).notes == ()


@pytest.mark.parametrize(
    ("cell", "moment"),
    [
        ("2026-02-03 14:22:00 UTC", AT),
        ("2026/02/03 3:22:00 PM MEZ", AT),
        ("2026/02/03 4:22:00 nachm. GMT+2", AT),
        ("2026-02-03 09:22:00 EST", AT),
        ("2026-02-03T15:22:00+01:00[Europe/Berlin]", AT),
        ("2026-02-03T15:22:00[Europe/Berlin]", AT),
        ("Tue, 03 Feb 2026 14:22:00 GMT", AT),
        ("Tue Feb 03 2026 15:22:00 GMT+0100 (CET)", AT),
        ("Tue Feb 03 14:22:00 +0000 2026", AT),
        ("3. Februar 2026 um 14:22 Uhr", AT),
        ("3 févr. 2026 à 14:22", AT),
        ("3 de febrero de 2026, 14:22", AT),
        ("Tuesday, February 3, 2026 at 2:22 PM", AT),
        ("Feb 3 2026  2:22PM", AT),
        ("2/3/26, 2:22\u202fPM", AT),
        ("2026/02/03 午後2:22", AT),
        ("2026年2月3日 14時22分", AT),
    ],
)
def test_times_of_many_countries_and_programs_are_read(cell: str, moment: datetime) -> None:
    found = timestamps.read([cell], now=NOW, months_first=cell.startswith("2/3"))
    assert found.found == (moment,)


@pytest.mark.parametrize(
    "cell", ["2026-02-03 14:22 IST", "2026-02-03T14:22[Nowhere/City]", "3 rooms 2026", "14:22 UTC"]
)
def test_a_zone_or_a_month_that_is_not_known_is_not_guessed(cell: str) -> None:
    assert timestamps.read([cell], now=NOW).found == (None,)
