"""How many rows of one customer a night takes, or people are shown, where several may be loud.

A share for each customer alone bounds nothing where five of them agree to have a fifth each, and
"as many as the second loudest" nothing where two do. So the loudest `share` of all customers, one
at least, are set apart, and together they may have no more than that share beside the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def most_rows(counts: Sequence[int], own: int, share: float) -> int:
    """How many rows of one customer count, at least 1.

    ``counts`` are those of each customer, ``own`` those of the company itself and of nobody. It is
    the greatest number with which those set apart have no more than ``share``, in (0, 1], of all
    that then count; or, where customers are too few for that, what the loudest of the others has.
    Who is alone has all.
    """
    loudest = sorted(counts)
    if share == 1 or len(loudest) + bool(own) < 2:
        return max([*loudest, own, 1])
    apart = max(1, math.floor(share * len(loudest)))
    others = loudest[:-apart]
    together = share / (1 - share) * (own + sum(others))
    return max(math.floor(together / apart), max([*others, own]), 1)
