"""How many rows a holdout will have, before there is one: by the split and the rules themselves.

A share of groups is an expectation. With few groups, or a few large ones, what a salt draws is
another number; so the share is chosen, and the gate's minimum proposed, by drawing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flywheel import curation
from flywheel.config import CurationConfig, SplitConfig
from flywheel.dataset import splits
from flywheel.dataset.images import Images
from flywheel.records import Reaction
from flywheel.text.normalize import text_id

LEAST = 20
"""Rows of a holdout, and of training, below which there is no first model."""
MOST_SHARE = 0.35
"""Of the rows, as expected; a salt that draws few may be given a larger share of the groups."""
_MOST_DRAWN = 0.5
LEAST_SHARE = 0.05
_STEP = 0.005


@dataclass(frozen=True)
class HoldoutPlan:
    """What the split makes of the rows. ``holdout`` and ``train`` are label → examples.

    ``validation`` is how many are for that.
    """

    share: float
    holdout: Mapping[str, int]
    train: Mapping[str, int]
    dropped: Mapping[str, int]
    validation: int = 0

    @property
    def rows(self) -> int:
        """Of the holdout."""
        return sum(self.holdout.values())

    @property
    def training(self) -> int:
        return sum(self.train.values())

    @property
    def minimum(self) -> int:
        """What the gate may ask for: somewhat fewer, for rows are withdrawn and forgotten."""
        return min(200, max(LEAST, int(0.8 * self.rows)))

    @property
    def is_enough(self) -> bool:
        """Whether a first night can end with a champion."""
        return self.rows >= LEAST and self.training >= LEAST


def plan(
    reactions: Sequence[Reaction],
    *,
    labels: tuple[str, ...],
    rules: CurationConfig,
    salt: str,
    validation: float,
    wanted: int,
    images: Images | None = None,
) -> HoldoutPlan:
    """The share by which ``salt`` draws about ``wanted`` texts, and what then sits where."""
    share = _share(reactions, salt=salt, wanted=min(wanted, int(MOST_SHARE * len(reactions))))
    split = SplitConfig(salt=salt, holdout=share, validation=validation)
    sides = splits.assign_by(split, {reaction.group_id for reaction in reactions}, known={})
    found = curation.count_splits(
        reactions, splits=sides, labels=labels, rules=rules, images=images
    )
    return HoldoutPlan(
        share,
        {label: found.holdout[label] for label in labels or ("",)},
        {label: found.train[label] for label in labels or ("",)},
        dict(found.dropped),
        found.validation.total(),
    )


def _share(reactions: Sequence[Reaction], *, salt: str, wanted: int) -> float:
    """The share that comes nearest to ``wanted`` held-out texts; of two the smaller."""
    texts: dict[str, set[str]] = defaultdict(set)
    for reaction in reactions:
        texts[reaction.group_id].add(text_id(reaction.text))
    if MOST_SHARE * sum(map(len, texts.values())) < LEAST:
        # too few for a holdout by any share; what is labeled later is drawn by this one, too
        return MOST_SHARE
    best = (float("inf"), LEAST_SHARE)
    share = LEAST_SHARE
    while share <= _MOST_DRAWN:
        drawn = splits.assign(texts, known={}, salt=salt, holdout=share, validation=0)
        holdout = {
            one for group, side in drawn.items() if side == "holdout" for one in texts[group]
        }
        best = min(best, (abs(len(holdout) - wanted), round(share, 3)))
        share += _STEP
    return best[1]
