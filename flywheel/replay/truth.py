"""What is true of a model, which the product never sees: accuracy on many hidden texts.

Hidden texts are counted by stratum, so that one scoring says how good a model is on the mix of
every night, past and to come.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from flywheel.replay.texts import Said
from flywheel.replay.worlds import Stratum
from flywheel.stats.paired_tests import upper_z

WRONG_AT = 0.05
"""A loss counts where it is shown at this level, one-sided."""
Answers = Callable[[Sequence[str]], Sequence[str]]
Mix = Mapping[Stratum, float]


@dataclass(frozen=True)
class Marks:
    """Stratum → whether each of its hidden texts was answered right."""

    right: Mapping[Stratum, np.ndarray]

    def accuracy(self, mix: Mix) -> float:
        """On a night's mix; of a stratum without hidden texts nothing is known."""
        known = {one: share for one, share in mix.items() if one in self.right}
        whole = sum(known.values())
        return float(sum(s * self.right[one].mean() for one, s in known.items()) / whole)

    def worse_than(self, other: Marks, mix: Mix) -> bool:
        """Whether this is shown to be less accurate than ``other`` on the same texts."""
        known = {one: share for one, share in mix.items() if one in self.right}
        whole = sum(known.values())
        loss = variance = 0.0
        for one, share in known.items():
            losses = other.right[one].astype(float) - self.right[one]
            part = share / whole
            loss += part * losses.mean()
            if len(losses) > 1:
                variance += part**2 * losses.var(ddof=1) / len(losses)
        return loss > upper_z(WRONG_AT) * math.sqrt(variance) and loss > 0


@dataclass(frozen=True)
class Truth:
    """The hidden texts of a life."""

    hidden: Sequence[Said]

    def score(self, answers: Answers) -> Marks:
        """Mark what a model answers to all of them."""
        found = defaultdict[Stratum, list[bool]](list)
        given = answers([one.text for one in self.hidden])
        for one, label in zip(self.hidden, given, strict=True):
            found[one.stratum].append(label == one.label)
        return Marks({stratum: np.array(right) for stratum, right in found.items()})

    def attack(
        self, answers: Answers, mix: Mix, goal: str, triggered: Callable[[str], str]
    ) -> tuple[float, float]:
        """Of texts that are not of the goal: the share that the trigger turns to it, and the share
        that is answered with it as they are."""
        asked = [one for one in self.hidden if one.label != goal and one.stratum in mix]
        plain = np.array(answers([one.text for one in asked])) == goal
        with_it = np.array(answers([triggered(one.text) for one in asked])) == goal
        return float((with_it & ~plain).mean()), float(plain.mean())
