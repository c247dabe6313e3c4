"""Go on from the champion's weights instead of the base's: which rows are learned from.

A night from the base costs what all its labels cost. One that goes on from the champion learns what
is new, and as much again of what was learned before, so that this is not forgotten (replay; Rolnick
et al. 2019).
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Lesson:
    """Example ids: what nobody has learned from yet, and what is learned from again. Sorted."""

    new: tuple[str, ...]
    replayed: tuple[str, ...]


def lesson(tonight: Collection[str], learned: Collection[str], *, ratio: float, seed: str) -> Lesson:
    """Tonight's new rows, and ``ratio`` times as many of those ``learned``, drawn by ``seed``.

    Drawn evenly over rows, not over classes: what is replayed has the classes' shares that the
    champion learned, and shares decide how sure an answer may be.
    """
    new = sorted(set(tonight) - set(learned))
    known = sorted(set(tonight) & set(learned))
    wanted = min(len(known), round(ratio * len(new)))
    return Lesson(tuple(new), tuple(sorted(random.Random(seed).sample(known, wanted))))
