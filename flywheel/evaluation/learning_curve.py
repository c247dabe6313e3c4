"""What more rows would bring: a cheap learner's accuracy on growing shares of the rows.

The learner is TF-IDF with logistic regression: it trains in seconds, where the model that serves
takes minutes or hours. Its curve is a stand-in, and never looks at the holdout: it is scored on the
validation rows, or, where those are few, on training rows that it does without.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from flywheel.evaluation.baselines import TermCounts, tfidf_logistic
from flywheel.records import Example
from flywheel.records.answers import top

SHARES = (0.25, 0.5, 0.75, 1.0)
DRAWS = 8
FEWEST_ROWS = 100
"""Labeled training rows below which no curve is drawn."""
FEWEST_HELD_OUT = 100
"""Validation rows below which a fifth of the training rows is held out instead."""
MOST_ROWS = 2_000
"""Rows that the learner sees at most, so that a big store costs no more. Curves flatten, so beyond
them its slope promises too much rather than too little."""


@dataclass(frozen=True)
class Gain:
    """An expected gain in accuracy with its 95 % interval, all in [-1, 1]."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """Mean accuracy in [0, 1] at each number of rows, and its slope per doubling in each draw."""

    points: tuple[tuple[int, float], ...]
    slopes: tuple[float, ...]
    held_out: Literal["validation", "training"]

    def gain(self, fewer: int, more: int) -> Gain | None:
        """What ``more`` rows bring over ``fewer``; None beyond twice as many: too far to tell.

        The slope is taken to hold for one more doubling. Each draw takes other rows in another
        order and, of validation, a bootstrap sample, so that the spread of the slopes stands for
        their error.
        """
        if fewer <= 0 or not fewer <= more <= 2 * fewer:
            return None
        from scipy.stats import t

        doublings = math.log2(more / fewer)
        slopes = np.asarray(self.slopes)
        reach = float(t.ppf(0.975, len(slopes) - 1)) * float(slopes.std(ddof=1))
        mean = float(slopes.mean())
        return Gain(*(doublings * slope for slope in (mean, mean - reach, mean + reach)))


def measure(examples: Sequence[Example], labels: Sequence[str], *, seed: int = 0) -> Curve | None:
    """Draw the curve of a snapshot's examples; None when too few of them train to tell.

    Texts almost alike are on one side. Rows of the holdout are not looked at. The same examples,
    the same curve.
    """
    train = [one for one in examples if one.split == "train" and one.label]
    validation = [one for one in examples if one.split == "validation" and one.label]
    if len(train) < FEWEST_ROWS:
        return None
    apart = len(validation) >= FEWEST_HELD_OUT
    drawn = []
    for draw in range(DRAWS):
        rng = random.Random(f"{seed}:{draw}")
        pool, held = _held_out(train, rng)
        if apart:
            pool, held = list(train), rng.choices(validation, k=len(validation))
        rng.shuffle(pool)
        drawn.append((_growing(pool), held))
    counted = TermCounts(one.text for growing, held in drawn for one in (*growing[-1], *held))
    draws = [
        [_accuracy(rows, held, labels, counted) for rows in growing] for growing, held in drawn
    ]
    sizes = [[size for size, _ in draw] for draw in draws]
    accuracies = [[accuracy for _, accuracy in draw] for draw in draws]
    slopes = [
        float(np.polyfit(np.log2(size), accuracy, deg=1)[0])
        for size, accuracy in zip(sizes, accuracies, strict=True)
    ]
    return Curve(
        points=tuple(
            (round(float(size)), float(accuracy))
            for size, accuracy in zip(
                np.mean(sizes, axis=0), np.mean(accuracies, axis=0), strict=True
            )
        ),
        slopes=tuple(slopes),
        held_out="validation" if apart else "training",
    )


def _held_out(train: Sequence[Example], rng: random.Random) -> tuple[list[Example], list[Example]]:
    """Training rows, and about a fifth of them held out, whole clusters at a time."""
    clusters = sorted({_cluster(one) for one in train})
    out = set(rng.sample(clusters, math.ceil(len(clusters) / 5)))
    pool = [one for one in train if _cluster(one) not in out]
    held = [one for one in train if _cluster(one) in out]
    return pool or held, held


def _cluster(example: Example) -> str:
    return example.cluster_id or example.example_id


def _growing(pool: Sequence[Example]) -> list[Sequence[Example]]:
    most = min(len(pool), MOST_ROWS)
    return [pool[: max(1, round(share * most))] for share in SHARES]


def _accuracy(
    rows: Sequence[Example], held: Sequence[Example], labels: Sequence[str], counted: TermCounts
) -> tuple[int, float]:
    answers = tfidf_logistic(
        [(one.text, one.label or "") for one in rows],
        [one.text for one in held],
        labels,
        counted=counted,
    )
    right = sum(top(answer) == one.label for answer, one in zip(answers, held, strict=True))
    return len(rows), right / len(held)
