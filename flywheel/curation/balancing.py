"""No voice too loud, no class forgotten: weights that cap shares, a bounded choice of rows."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_ROUNDS = 300
"""Looks at every cap, at most: near a contradiction each look lowers a little less."""
_CLOSE = 1e-5
"""A change of a weight that is none."""


def cap_shares(weights: npt.ArrayLike, owners: Sequence[Hashable | None], *, most: float) -> Floats:
    """Lower the weights of owners that hold more than ``most`` of the sum, until none does.

    Rows whose owner is None are never lowered. Nothing is capped among fewer than ``2 / most``
    owners: one person's careful work is not to be thrown away for a passer-by's click.

    Args:
        weights: One per row, at least 0.
        owners: Whom each row belongs to; equal owners share one cap.
        most: The largest share of the final sum, in (0, 1].
    """
    return _capped(np.asarray(weights, dtype=float), _numbered(owners), most)


@dataclass(frozen=True)
class Capped:
    """``weights`` under the first ``held`` of the caps that were asked for."""

    weights: Floats
    held: int


def cap_together(
    weights: npt.ArrayLike, caps: Sequence[tuple[Sequence[Hashable | None], float]]
) -> Capped:
    """Lower weights until every cap holds at once, each as in `cap_shares`.

    Who was lowered for one cap makes the others a larger share, and may lift them over another.
    Caps can contradict each other, as where one source has the words of nearly all customers: then
    the last of them gives way.

    Args:
        weights: One per row, at least 0.
        caps: Owners of the rows, and the most that one may have; what matters most comes first.
    """
    numbered = [(_numbered(owners), most) for owners, most in caps]
    start = np.asarray(weights, dtype=float)
    for held in range(len(numbered), 0, -1):
        found = _settled(start, numbered[:held])
        if found is not None:
            return Capped(found, held)
    return Capped(start.copy(), 0)


def _settled(start: Floats, caps: Sequence[tuple[Integers, float]]) -> Floats | None:
    """Weights that no cap lowers further; None where they would go on falling."""
    result = start
    for _ in range(_ROUNDS):
        before = result
        for owners, most in caps:
            result = _capped(result, owners, most)
        if np.allclose(result, before, rtol=_CLOSE, atol=0):
            return result
    return None


def _numbered(owners: Sequence[Hashable | None]) -> Integers:
    """Owners as numbers from 0; -1 of rows that have none."""
    numbers: dict[Hashable, int] = {}
    return np.array(
        [-1 if one is None else numbers.setdefault(one, len(numbers)) for one in owners],
        dtype=np.int64,
    )


def _capped(weights: Floats, owners: Integers, most: float) -> Floats:
    owned = owners >= 0
    sums = np.bincount(owners[owned], weights=weights[owned])
    result = weights.copy()
    if len(sums) < 2 / most:
        return result
    level = _level(sorted(sums.tolist(), reverse=True), float(result.sum()), most)
    lowered = np.where(sums > level, level / np.maximum(sums, 1e-300), 1.0)
    result[owned] *= lowered[owners[owned]]
    return result


def _level(sums: Sequence[float], total: float, most: float) -> float:
    """The most that one owner may hold; ``sums`` has the loudest first, at least 2 / ``most``."""
    rest = total
    for capped, loudest in enumerate(sums):
        # with the first owners at the level: level = most * (rest + capped * level)
        level = most * rest / (1 - capped * most)
        if loudest <= level:
            return level
        rest -= loudest
    raise AssertionError("some owner is always below the level")


def choose(
    ids: Sequence[str], classes: Sequence[Hashable], *, most: int, salt: str
) -> npt.NDArray[np.bool_]:
    """Keep at most ``most`` rows, the classes as level as their sizes allow.

    Within a class the rows with the lowest salted hash stay, so that the choice is a uniform
    sample of everything ever seen, is the same on every machine, and changes little from one night
    to the next: old rows are replayed, and a quiet class keeps all it has.
    """
    kept = np.ones(len(ids), dtype=bool)
    if len(ids) <= most:
        return kept
    members: dict[Hashable, list[int]] = defaultdict(list)
    for row, name in enumerate(classes):
        members[name].append(row)
    left, open_classes = most, len(members)
    for name in sorted(members, key=lambda name: (len(members[name]), str(name))):
        rows = sorted(members[name], key=lambda row: _draw(salt, ids[row]))
        quota = min(len(rows), -(-left // open_classes))
        kept[rows[quota:]] = False
        left, open_classes = left - quota, open_classes - 1
    return kept


def _draw(salt: str, identity: str) -> bytes:
    return hashlib.sha256(f"{len(salt)}:{salt}:{identity}".encode()).digest()
