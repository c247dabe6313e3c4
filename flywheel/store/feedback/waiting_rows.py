"""Which rows of customers waited in the last night, how fast they come, and which nobody looks at.

Small columns only: no text of history is read.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from flywheel.store.feedback import customers
from flywheel.store.feedback.reactions import oldest_looked_at
from flywheel.store.warehouse import Store

NIGHTS = 7
"""Nights over which the pace is counted, at most."""

_RECENT = """
SELECT epoch_us(as_of)
FROM nights
WHERE use_case = $use_case AND outcome <> 'failed'
ORDER BY as_of DESC
LIMIT $nights + 1
"""
_QUEUED = f"""
WITH given AS (
    SELECT
        {customers.customer()} AS customer,
        epoch_us(f.ingested_at) AS came,
        c.snapshot_id IS NULL AS waits,
        epoch_us(c.consumed_at) AS taken
    FROM feedback AS f
    LEFT JOIN consumed AS c
        ON c.use_case = f.use_case AND c.feedback_key = f.feedback_key
    {customers.REQUEST}
    WHERE
        f.use_case = $use_case
        AND f.seq IS NOT NULL
        AND NOT list_contains($own::VARCHAR[], f.source)
        -- these wait for a person, and not for their turn
        AND f.feedback_id NOT IN (SELECT feedback_id FROM set_aside WHERE use_case = $use_case)
)
SELECT
    customer,
    count(*) FILTER (WHERE waits AND came <= $last) AS waited,
    count(*) FILTER (WHERE taken > $before AND taken <= $last),
    histogram(came) FILTER (WHERE came > $first AND came <= $last)
FROM given
WHERE customer IS NOT NULL
GROUP BY customer
HAVING waited > 0
ORDER BY waited DESC, customer
"""
# Older than what a night looks at, and in no snapshot.
_IS_BEYOND = """
use_case = $use_case
AND seq <= $floor
AND NOT list_contains($gold::VARCHAR[], source)
AND feedback_key NOT IN (SELECT feedback_key FROM consumed WHERE use_case = $use_case)
"""
_BEYOND = f"SELECT count(*) FROM feedback WHERE {_IS_BEYOND}"
_FROM_THE_OLDEST = f"""
SELECT count(*)
FROM feedback
WHERE
    use_case = $use_case
    AND NOT list_contains($gold::VARCHAR[], source)
    AND seq >= (SELECT min(seq) FROM feedback WHERE {_IS_BEYOND})
"""


@dataclass(frozen=True)
class Queued:
    """Rows of a customer that the last night left ``waiting``.

    ``by_night`` is how many came in each of the last nights, oldest first, empty before a second
    night; ``taken`` how many the last night took.
    """

    customer: str
    waiting: int
    by_night: tuple[int, ...]
    taken: int

    @property
    def came(self) -> float | None:
        """Rows in a usual night: the median, so that one burst is no habit."""
        return statistics.median(self.by_night) if self.by_night else None

    @property
    def nights(self) -> int | None:
        """Nights until nothing waits, at this pace; None where that is never, or not known."""
        if self.came is None or self.taken <= self.came:
            return None
        return math.ceil(self.waiting / (self.taken - self.came))


def queued(store: Store, use_case: str, *, own: Collection[str]) -> list[Queued]:
    """Customers whose rows the last night left for later, the most first.

    ``own`` are sources of the company's own people, whose rows never wait.
    """
    recent = store.rows(_RECENT, {"use_case": use_case, "nights": NIGHTS})
    nights = sorted(at for (at,) in recent)
    if not nights:
        return []
    first, last = nights[0], nights[-1]
    before = nights[-2] if len(nights) > 1 else last
    here = {"use_case": use_case, "own": sorted(own)}
    rows = store.rows(_QUEUED, here | {"first": first, "before": before, "last": last})
    return [
        Queued(who, waited, _by_night(came or {}, nights), taken)
        for who, waited, taken, came in rows
    ]


def _by_night(came: Mapping[int, int], nights: Sequence[int]) -> tuple[int, ...]:
    """Rows that came up to each of the ``nights`` but the first, since the one before."""
    return tuple(
        sum(rows for at, rows in came.items() if start < at <= end)
        for start, end in pairwise(nights)
    )


def beyond(store: Store, use_case: str, *, gold_sources: Sequence[str], newest: int) -> int:
    """Rows that no snapshot has seen, and that are older than the ``newest``: no night will."""
    gold = sorted(set(gold_sources))
    floor = oldest_looked_at(store.con, use_case, gold_sources=gold, newest=newest)
    if floor == 0:
        return 0
    return int(store.rows(_BEYOND, {"use_case": use_case, "gold": gold, "floor": floor})[0][0])


def reaching_all(store: Store, use_case: str, *, gold_sources: Sequence[str], newest: int) -> int:
    """How many of the newest rows have those of `beyond` among them; 0 where there are none.

    Between them lie rows that a snapshot has seen, and these are among the newest, too.
    """
    gold = sorted(set(gold_sources))
    floor = oldest_looked_at(store.con, use_case, gold_sources=gold, newest=newest)
    told = {"use_case": use_case, "gold": gold, "floor": floor}
    return int(store.rows(_FROM_THE_OLDEST, told)[0][0])
