"""What must hold on every road, whatever the data, the method and the mishaps."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing

import duckdb

from tests.journeys.day import SILENT_NIGHTS, Day
from tests.journeys.road import OUTCOMES, Road

NEVER_FAILS = frozenset({"failed", "no record"})


def every_night_has_an_end(days: Iterable[Day], *, may_fail: Iterable[int] = ()) -> None:
    """One of the six outcomes, a page and a record; only the nights named may have failed."""
    allowed = set(may_fail)
    for day in days:
        assert day.outcome in OUTCOMES, f"{day}\n{day.told}"
        assert day.page, f"{day} has left no page\n{day.told}"
        if day.number not in allowed:
            assert day.outcome not in NEVER_FAILS, f"{day}\n{day.told}"


def a_failed_night_says_what_to_do(days: Sequence[Day]) -> None:
    """It is told in a sentence with no traceback, and the night after works."""
    for day, after in itertools.pairwise(days):
        if day.outcome == "failed":
            assert "Traceback" not in day.told, day.told
            assert after.outcome not in NEVER_FAILS, f"{day}, then {after}\n{after.told}"


def all_is_counted_once(road: Road) -> None:
    """Every answer and every reaction that was acknowledged is in the warehouse, once.

    Of the rows of the first file each is there once, too; nothing waits, nothing was set aside.
    """
    with closing(duckdb.connect(str(road.home / "warehouse.duckdb"), read_only=True)) as con:
        answers = Counter(
            i for (i,) in con.execute("SELECT prediction_id FROM predictions").fetchall()
        )
        reactions = Counter(
            i for (i,) in con.execute("SELECT feedback_id FROM feedback").fetchall()
        )
        aside = con.execute("SELECT reason, count(*) FROM quarantine GROUP BY 1").fetchall()
    assert answers == Counter(road.answered)
    ours = {i: n for i, n in reactions.items() if not i.startswith(("init-", "queue-"))}
    assert ours == Counter(road.reacted)
    assert sum(i.startswith("queue-") for i in reactions) == road.labeled
    assert set(reactions.values()) <= {1}
    assert aside == []
    waiting = road.days[-1].status["feedback"]
    assert (waiting["parked"], waiting["quarantined"]) == (0, 0), waiting


def a_better_one_was_promoted_and_served(road: Road, *, within: int = 14) -> None:
    """Feedback was useful: some night after the first made another version champion."""
    champions = [day.champion for day in road.days[:within]]
    story = "\n".join(str(day) for day in road.days)
    firsts = [champion for champion in champions if champion is not None]
    assert firsts, f"nothing was ever promoted\n{story}"
    assert len(set(firsts)) > 1, f"no better model in {len(champions)} nights\n{story}"


def no_state_repeats_in_silence(days: Sequence[Day]) -> None:
    """Where more than `SILENT_NIGHTS` nights end alike, page and doctor say what would end it."""
    for state, alike in itertools.groupby(days, key=lambda day: day.state):
        stuck = list(alike)[SILENT_NIGHTS:]
        assert not stuck or stuck[0].doctor is not None
        for day in stuck:
            assert _tells(day.page), (
                f"{state}: the page of {day} says no way out:\n{day.page[:2_000]}"
            )
            if day.doctor is not None:
                assert _tells(day.advice), (
                    f"{state}: doctor says no way out after {day}:\n{day.advice}"
                )


def _tells(text: str) -> bool:
    """Whether a text names something that a person can do: a command, or a setting to change."""
    return WAY_OUT.search(text) is not None


WAY_OUT = re.compile(r"flywheel [a-z]+|\b(gate|curation|training|split|serving)\.[a-z_]+")
