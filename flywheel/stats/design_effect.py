"""Whether rows of one group go right or wrong together, by more than `gate.unit: row` can bear.

The design effect (Kish 1965) is by how much the variance of a sum of gains is greater than if every
row went its own way: 1 where they do. A bet on each row is fair as long as it stays near 1. In the
simulated world of ``python -m benchmarks.gate`` 1.25 still keeps what is promised, 1.39 does not.

Only rows that one contender alone got right can say anything: of two of them in a group, the same
contender won both, or each won one. Both happen equally often where rows go their own ways.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable

from flywheel.records import FreshRow

MOST = 1.25
"""From this design effect on rows are not bet on one by one."""
_Z = 1.6448536269514722
"""The normal quantile of a one-sided bound at 95 %."""


def near_one(rows: Iterable[FreshRow]) -> bool:
    """Whether ``rows`` show that the design effect is at most `MOST`; few of them show nothing."""
    return upper_bound(rows) <= MOST


def upper_bound(rows: Iterable[FreshRow]) -> float:
    """The design effect of gains within a group of a night, at most: one-sided at 95 %.

    At least 1; infinite where no row tells the contenders apart. Where groups have one row each it
    is 1.
    """
    groups: dict[tuple[object, str], list[int]] = defaultdict(list)
    for row in rows:
        groups[row.as_of, row.group_id].append(row.challenger_right - row.champion_right)
    decided = sum(abs(gain) for gains in groups.values() for gain in gains)
    if not decided:
        return math.inf
    count = sum(map(len, groups.values()))
    # of a row that decides: how many others of its group do, and how many would by chance
    partners = sum(_pairs(gains) for gains in groups.values()) * 2 / decided
    size = sum(len(gains) ** 2 for gains in groups.values()) / count
    expected = decided / count * (size - 1)
    return 1 + max(0.0, _together(groups.values())) * max(partners, expected)


def _pairs(gains: list[int]) -> float:
    """Pairs of rows of a group that both decide."""
    deciding = sum(map(abs, gains))
    return deciding * (deciding - 1) / 2


def _together(groups: Iterable[list[int]]) -> float:
    """Correlation of two rows of a group, at most; in [-1, 1], and 1 where nothing tells."""
    pairs, alike = [], []
    for gains in groups:
        if number := _pairs(gains):
            pairs.append(number)
            # pairs won by the same contender less the others
            alike.append((sum(gains) ** 2 - sum(map(abs, gains))) / 2)
    total = sum(pairs)
    if not total:
        return 1.0
    found = sum(alike) / total
    apart = sum((a - found * p) ** 2 for a, p in zip(alike, pairs, strict=True))
    return min(1.0, found + _Z * max(math.sqrt(apart) / total, math.sqrt(1 / total)))
