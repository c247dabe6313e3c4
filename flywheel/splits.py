"""Which side of the exam a group is on: decided once, by a salted hash, for ever.

Adding groups never moves a group. A text that occurs in groups on different sides is treated by
the strongest side (exam, then validation, then train) without moving the groups themselves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from flywheel.errors import DataError
from flywheel.records import Split

_STRENGTH: Mapping[Split, int] = {"train": 0, "validation": 1, "exam": 2}


def assign(
    groups: Iterable[str],
    *,
    known: Mapping[str, Split],
    salt: str,
    exam: float,
    validation: float,
) -> dict[str, Split]:
    """Decide the split of every group in ``groups``; a split in ``known`` always wins.

    Each group is decided alone, so the answer depends neither on order nor on the other groups.

    Args:
        groups: Group ids; repeats are fine.
        known: Splits decided on earlier nights. Groups only in ``known`` are not returned.
        salt: Names the draw; another salt is another, independent draw.
        exam: Expected share of groups in the exam, in [0, 1].
        validation: Expected share of groups in validation, in [0, 1 - exam].
    """
    return {
        group: known[group] if group in known else _draw(group, salt, exam, validation)
        for group in groups
    }


def merge(links: Iterable[tuple[str, str]], splits: Mapping[str, Split]) -> dict[str, Split]:
    """Return the split to treat each cluster by: the strongest among its groups.

    Exam beats validation beats train, so one more link can only move a cluster toward the exam.
    Links are not followed from group to group: a greeting that everyone writes makes one
    cluster, and leaves the rest of each group where it is.

    Args:
        links: Pairs ``(cluster, group)``; a cluster is a normalised text, by its ``text_id``.
        splits: The stored split of every group; never changed.

    Raises:
        DataError: a linked group has no split.
    """
    merged: dict[str, Split] = {}
    for cluster, group in links:
        if group not in splits:
            raise DataError(
                f"Group {group!r} has no split; every group must be assigned before its texts "
                "are curated. Nothing was changed; run splits.assign on it first.",
                group=group,
            )
        split = splits[group]
        merged[cluster] = max(merged.get(cluster, split), split, key=_STRENGTH.__getitem__)
    return merged


def _draw(group: str, salt: str, exam: float, validation: float) -> Split:
    # The salt's length keeps ("ab", "c") and ("a", "bc") apart.
    digest = hashlib.sha256(f"{len(salt)}:{salt}:{group}".encode()).digest()
    # 53 bits: the most a float holds exactly, so the draw stays below 1.
    draw = (int.from_bytes(digest[:8], "big") >> 11) / 2**53
    if draw < exam:
        return "exam"
    return "validation" if draw < exam + validation else "train"
