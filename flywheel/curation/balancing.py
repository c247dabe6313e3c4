"""No voice too loud, no class forgotten: weights that cap shares, a bounded choice of rows."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt


def cap_shares(
    weights: npt.ArrayLike, owners: Sequence[Hashable | None], *, most: float
) -> npt.NDArray[np.float64]:
    """Lower the weights of owners that hold more than ``most`` of the sum, until none does.

    Rows whose owner is None are never lowered. Nothing is capped among fewer than ``2 / most``
    owners: one person's careful work is not to be thrown away for a passer-by's click.

    Args:
        weights: One per row, at least 0.
        owners: Whom each row belongs to; equal owners share one cap.
        most: The largest share of the final sum, in (0, 1].
    """
    result = np.asarray(weights, dtype=float).copy()
    rows: dict[Hashable, list[int]] = defaultdict(list)
    for row, owner in enumerate(owners):
        if owner is not None:
            rows[owner].append(row)
    if len(rows) < 2 / most:
        return result
    sums = {owner: float(result[own].sum()) for owner, own in rows.items()}
    level = _level(sorted(sums.values(), reverse=True), float(result.sum()), most)
    for owner, own in rows.items():
        if sums[owner] > level:
            result[own] *= level / sums[owner]
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
