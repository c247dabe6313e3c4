"""A night on what honest customers said before, with what dishonest ones add tonight.

Everything is as `curate_snapshot` does it: what waits, curation, and whether the night is refused.
The champion learned from what came before. Of tonight's challenger the holdout is asked once, at
the level of a first question.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property

import numpy as np

from benchmarks.attacks import data as people
from benchmarks.attacks.data import Data
from benchmarks.attacks.learners import Answer, Row
from flywheel.config import CurationConfig
from flywheel.curation import curate
from flywheel.dataset import product_reviews, splits
from flywheel.dataset.product_reviews import Sentence
from flywheel.gate.comparison import Pair, paired
from flywheel.influence import row_caps, unusual_feedback
from flywheel.influence.unusual_feedback import Learned
from flywheel.records import Curated, Example, Reaction
from flywheel.stats import alpha_budget

DAYS = 30
"""How long honest customers spoke before."""
TONIGHT = people.START + timedelta(days=DAYS)
FRESH = 10
"""One text in so many is new tonight."""


@dataclass(frozen=True)
class Night:
    """What a night learns from. ``refused``: from nothing new, as its feedback is unusual."""

    rows: list[Row]
    examples: tuple[Example, ...]
    refused: bool = False


@dataclass(frozen=True)
class World:
    """What honest customers said, the dishonest ones among them, until they began.

    ``known`` are the sentences that came before tonight, on the training side; ``rest`` those that
    nobody has spoken on.
    """

    data: Data
    before: list[Reaction]
    tonight: list[Reaction]
    known: list[Sentence]
    rest: list[Sentence]

    @cached_property
    def old(self) -> Night:
        """The night before: the champion learned from it."""
        return learned_from(curated(self.data, self.before, self.data.case.curation))

    @cached_property
    def clean(self) -> Night:
        """Tonight without an attack."""
        return night(self, [])

    @cached_property
    def champion(self) -> list[bool]:
        """For each holdout sentence whether the champion answers it right."""
        return right(self.data, self.data.learn(self.old.rows))

    @cached_property
    def unharmed(self) -> list[bool]:
        """The same of what is learned tonight without an attack."""
        return right(self.data, self.data.learn(self.clean.rows))


def world(data: Data, seed: int, texts: int) -> World:
    """Draw it: ``texts`` sentences of the training side, and so many of the holdout as come with
    them.

    All customers speak, each with a key of its own.
    """
    rng = random.Random(seed)
    order = rng.sample(data.train, len(data.train))
    known, rest = order[:texts], order[texts:]
    new = texts // FRESH
    holdout = rng.sample(data.holdout, round(len(known) * len(data.holdout) / len(data.train)))
    told = people.honest([*known, *holdout], rng, at=people.START, days=DAYS)
    tonight = people.honest(rest[:new], rng, at=TONIGHT, days=1)
    return World(data, [*people.gold(data), *told], tonight, known, rest[new:])


def night(world: World, attack: Sequence[Reaction], rules: CurationConfig | None = None) -> Night:
    """What tonight learns from, with the rows of an ``attack``, by the rules shipped or others."""
    rules = rules or world.data.case.curation
    tonight = [*world.tonight, *attack]
    new = {one.feedback_id for one in tonight}
    waits, _ = row_caps.waiting(tonight, new, rules)
    taken = [one for one in [*world.before, *tonight] if one.feedback_id not in waits]
    found = curated(world.data, taken, rules)
    learned = [
        Learned(e.example_id, e.label, e.feedback_ids) for e in world.old.examples if _trains(e)
    ]
    change = unusual_feedback.compare(learned, found, taken, new, rules)
    if change.beyond(rules.max_change):
        return replace(world.old, refused=True)
    return learned_from(found)


def curated(data: Data, reactions: Sequence[Reaction], rules: CurationConfig) -> Curated:
    """As a night curates; groups of the data are on the sides that they were drawn for."""
    sides = splits.assign_by(data.case.split, {one.group_id for one in reactions}, known=data.sides)
    return curate(reactions, splits=sides, labels=data.case.label_names, rules=rules)


def learned_from(found: Curated) -> Night:
    rows = [(e.text, e.label, e.weight) for e in found.examples if e.label and _trains(e)]
    return Night(rows, found.examples)


def _trains(example: Example) -> bool:
    return example.split == "train"


# ---- What came of it


def right(data: Data, answer: Answer) -> list[bool]:
    """For each holdout sentence whether it is answered as its gold label says."""
    named = answer([s.text for s in data.holdout])
    return [
        a == product_reviews.gold_label(s.mean) for a, s in zip(named, data.holdout, strict=True)
    ]


def promoted(data: Data, challenger: Sequence[bool], champion: Sequence[bool]) -> bool:
    """Whether a first question to the holdout, at its level, would make the challenger champion."""
    limits = data.case.gate
    pairs = [
        Pair(s.review_id, "gold", int(ours) - int(theirs), s.sentence_id)
        for s, ours, theirs in zip(data.holdout, challenger, champion, strict=True)
    ]
    found = paired(pairs, margin=limits.margin)
    level = alpha_budget.question_alpha(1, 1.0, budget=limits.alpha * limits.holdout_share)
    return found.gain > limits.margin and found.p_value <= level


def cost(world: World, attacked: Night) -> dict[str, float]:
    """Accuracy that the attack costs, whether the night is refused, and whether it is promoted.

    Where the night is refused, or has too few rows to train on, the champion goes on answering.
    """
    few = len(attacked.rows) < world.data.case.training.min_examples
    if few or attacked.refused:
        ours = world.champion
    else:
        ours = right(world.data, world.data.learn(attacked.rows))
    return {
        "lost": float(np.mean(world.unharmed) - np.mean(ours)),
        "refused": float(attacked.refused),
        "promoted": float(promoted(world.data, ours, world.champion)),
    }


def without(found: dict[str, float]) -> dict[str, float]:
    """The same figures, named as those without the defence."""
    return {f"{name}_without": value for name, value in found.items()}
