"""Whether the champion's answers are accepted less than they were, however often one looks.

A bettor stakes on each new reaction that it is no acceptance (`flywheel.stats.e_process`). As long
as the share of those is not over what it was by more than the margin, the chance that his wealth
ever reaches ``1 / ALPHA`` between two nights is at most `ALPHA`, however often one looks. What the
share was is known from reactions, too: its upper 95 % bound is taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from flywheel.stats.e_process import log_wealth
from flywheel.stats.paired_tests import wilson_interval

ALPHA = 0.01
"""Chance to see a fall between two nights where there is none so large."""
LEAST = 30
"""Reactions of before that it takes to say what is usual."""


@dataclass(frozen=True)
class Fall:
    """Accepted shares in [0, 1], before and since, and the numbers of reactions they are of."""

    before: float
    since: float
    reactions_before: int
    reactions_since: int


def fall(before: Sequence[bool], since: Sequence[bool], *, by: float) -> Fall | None:
    """The fall of the accepted share, where it is surely by more than ``by``; else None."""
    if len(before) < LEAST or not since:
        return None
    lost = len(before) - sum(before)
    _, usual = wilson_interval(lost, len(before))
    margin = usual + by
    if margin >= 1:
        return None
    wealth = log_wealth([float(not accepted) for accepted in since], margin=margin)
    if wealth < -math.log(ALPHA):
        return None
    return Fall(
        before=1 - lost / len(before),
        since=sum(since) / len(since),
        reactions_before=len(before),
        reactions_since=len(since),
    )
