"""Which side of the holdout a group is on: decided once, by a salted hash, for ever.

Adding groups never moves a group. A text that occurs in groups on different sides is treated by one
of them (`merge`) without moving the groups themselves. Who may not write the holdout decides
nothing there: anybody can name a group, and so could take other people's texts out of training.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping

from flywheel.config import SplitConfig
from flywheel.errors import DataError
from flywheel.records import Split

_STRENGTH: Mapping[Split, int] = {"train": 0, "validation": 1, "holdout": 2}


def assign(
    groups: Iterable[str],
    *,
    known: Mapping[str, Split],
    salt: str,
    holdout: float,
    validation: float,
) -> dict[str, Split]:
    """Decide the split of every group in ``groups``; a split in ``known`` always wins.

    Each group is decided alone, so the answer depends neither on order nor on the other groups.

    Args:
        groups: Group ids; repeats are fine.
        known: Splits decided on earlier nights. Groups only in ``known`` are not returned.
        salt: Names the draw; another salt is another, independent draw.
        holdout: Expected share of groups in the holdout, in [0, 1].
        validation: Expected share of groups in validation, in [0, 1 - holdout].
    """
    return {
        group: known[group] if group in known else _draw(group, salt, holdout, validation)
        for group in groups
    }


def assign_by(
    rules: SplitConfig, groups: Iterable[str], *, known: Mapping[str, Split]
) -> dict[str, Split]:
    """`assign` by the shares and the salt of a use case."""
    return assign(
        groups,
        known=known,
        salt=rules.salt,
        holdout=rules.holdout,
        validation=rules.validation,
    )


def merge(
    trusted: Iterable[tuple[str, str]],
    others: Iterable[tuple[str, str]],
    splits: Mapping[str, Split],
) -> dict[str, Split]:
    """Return the side to treat each cluster by.

    Where trusted people spoke, theirs alone decide, and the strongest counts: holdout beats
    validation beats train, so that one more of them can only move a cluster toward the holdout.
    Elsewhere it trains unless all of its groups are for validation or, which then says nothing, for
    the holdout. Links are not followed from group to group: a greeting that everyone writes makes
    one cluster, and leaves the rest of each group where it is.

    Args:
        trusted: Pairs ``(cluster, group)`` of who may write the holdout; a cluster is named by the
            ``text_id`` of one of its texts.
        others: The same of everybody else.
        splits: The stored split of every group; never changed.

    Raises:
        DataError: a linked group has no split.
    """
    merged: dict[str, Split] = {}
    for cluster, group in trusted:
        split = _split_of(group, splits)
        merged[cluster] = max(merged.get(cluster, split), split, key=_STRENGTH.__getitem__)
    found: dict[str, set[Split]] = defaultdict(set)
    for cluster, group in others:
        found[cluster].add(_split_of(group, splits))
    for cluster, sides in found.items():
        sides.discard("holdout")
        merged.setdefault(cluster, "validation" if sides == {"validation"} else "train")
    return merged


def _split_of(group: str, splits: Mapping[str, Split]) -> Split:
    if group not in splits:
        raise DataError(
            f"Group {group!r} has no split; every group must be assigned before its texts "
            "are curated. Nothing was changed; run splits.assign on it first.",
            group=group,
        )
    return splits[group]


def _draw(group: str, salt: str, holdout: float, validation: float) -> Split:
    # The salt's length keeps ("ab", "c") and ("a", "bc") apart.
    digest = hashlib.sha256(f"{len(salt)}:{salt}:{group}".encode()).digest()
    # 53 bits: the most a float holds exactly, so the draw stays below 1.
    draw = (int.from_bytes(digest[:8], "big") >> 11) / 2**53
    if draw < holdout:
        return "holdout"
    return "validation" if draw < holdout + validation else "train"
