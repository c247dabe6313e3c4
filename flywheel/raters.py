"""Who can be believed: the likely label of each text, and how reliable each rater is.

Dawid & Skene (1979, Applied Statistics 28): every rater has a confusion matrix, every text a hidden
true label, and expectation-maximisation finds both from the votes alone. Two changes for feedback,
where most people vote once or twice: a rater's matrix is drawn toward that of all raters by
``STRENGTH`` votes (an empirical-Bayes prior), and all raters' matrix toward ``ASSUMED_ACCURACY`` by
``ASSUMED_VOTES`` votes, so that a text with one vote keeps that vote's label. A rejection ("not
this one") counts as the evidence that it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

STRENGTH = 4.0
ASSUMED_ACCURACY = 0.8
ASSUMED_VOTES = 20.0
MAX_ROUNDS = 200
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Vote:
    """One rater's word on one text: it is ``label``, or, when ``against``, it is not."""

    item: str
    rater: str
    label: str
    against: bool = False


@dataclass(frozen=True)
class Belief:
    """What the votes say.

    ``posterior`` is item → one probability per label, summing to 1. ``without`` has one row per
    vote, in the order given: the chance of each label being voted for by an average rater, judged
    by the other votes on that text alone. ``reliability`` is rater → chance of naming the true
    label, in [0, 1], averaged over the classes as they occur. ``votes_of`` counts a rater's votes.
    """

    posterior: Mapping[str, Floats]
    without: Floats
    reliability: Mapping[str, float]
    votes_of: Mapping[str, int]


def believe(
    votes: Sequence[Vote], *, labels: Sequence[str], known: Mapping[str, str] | None = None
) -> Belief:
    """Weigh the votes; the order they come in does not matter.

    Args:
        votes: At most one per item and rater. Labels are of ``labels``.
        labels: The classes, in the order of every posterior.
        known: Item → true label, for items whose truth is known; they show who is reliable.
    """
    number = {label: i for i, label in enumerate(labels)}
    items = {item: i for i, item in enumerate(sorted({vote.item for vote in votes}))}
    raters = {rater: i for i, rater in enumerate(sorted({vote.rater for vote in votes}))}
    k = len(labels)
    if not votes:
        return Belief({}, np.zeros((0, k)), {}, {})
    # a fixed order of votes makes every sum, and so every last digit, the same
    order = sorted(
        range(len(votes)), key=lambda i: (votes[i].item, votes[i].rater, votes[i].label)
    )
    item = np.array([items[votes[i].item] for i in order])
    rater = np.array([raters[votes[i].rater] for i in order])
    named = np.array([number[votes[i].label] for i in order])
    against = np.array([votes[i].against for i in order])
    truth = np.full(len(items), -1)
    for name, label in (known or {}).items():
        if name in items and label in number:
            truth[items[name]] = number[label]

    posterior, prior, matrices, pooled = _fit(item, rater, named, against, truth, len(raters), k)
    evidence = _log_likelihood(matrices[rater], named, against)
    total = np.log(prior) + np.zeros((len(items), k))
    np.add.at(total, item, evidence)
    total[truth >= 0] = np.where(np.eye(k, dtype=bool)[truth[truth >= 0]], 0.0, -np.inf)
    others = _softmax(total[item] - np.where(np.isfinite(total[item]), evidence, 0.0))
    without = np.empty((len(votes), k))
    without[order] = others @ pooled
    counts = np.bincount(rater, minlength=len(raters))
    diagonal = np.einsum("rtt,t->r", matrices, prior)
    return Belief(
        posterior={name: posterior[i] for name, i in items.items()},
        without=without,
        reliability={name: float(diagonal[i]) for name, i in raters.items()},
        votes_of={name: int(counts[i]) for name, i in raters.items()},
    )


def _fit(
    item: npt.NDArray[np.int64],
    rater: npt.NDArray[np.int64],
    named: npt.NDArray[np.int64],
    against: npt.NDArray[np.bool_],
    truth: npt.NDArray[np.int64],
    raters: int,
    k: int,
) -> tuple[Floats, Floats, Floats, Floats]:
    """Posterior (items, k), class prior (k,), matrices (raters, k, k) and that of all (k, k)."""
    off = (1 - ASSUMED_ACCURACY) / max(1, k - 1)
    assumed = np.full((k, k), off) + np.eye(k) * (ASSUMED_ACCURACY - off)
    fixed = truth >= 0
    pooled = assumed
    matrices = np.repeat(assumed[None], raters, axis=0)
    prior = np.full(k, 1 / k)
    posterior = np.zeros((len(truth), k))
    named_by = ~against
    for _ in range(MAX_ROUNDS):
        log = np.log(prior) + np.zeros((len(truth), k))
        np.add.at(log, item, _log_likelihood(matrices[rater], named, against))
        latest = _softmax(log)
        latest[fixed] = np.eye(k)[truth[fixed]]
        moved = float(np.abs(latest - posterior).max())
        posterior = latest
        prior = (posterior.sum(axis=0) + 1) / (len(truth) + k)
        counts = np.zeros((raters, k, k))
        np.add.at(
            counts, (rater[named_by], slice(None), named[named_by]), posterior[item[named_by]]
        )
        every = counts.sum(axis=0) + ASSUMED_VOTES / k * assumed
        pooled = every / every.sum(axis=1, keepdims=True)
        own = counts + STRENGTH * pooled
        matrices = own / own.sum(axis=2, keepdims=True)
        if moved < TOLERANCE:
            break
    return posterior, prior, matrices, pooled


def _log_likelihood(
    matrices: Floats, named: npt.NDArray[np.int64], against: npt.NDArray[np.bool_]
) -> Floats:
    """Log chance of each vote under each true label: (votes, k)."""
    chance = np.take_along_axis(matrices, named[:, None, None], axis=2)[:, :, 0]
    return np.log(np.where(against[:, None], 1 - chance, chance))


def _softmax(log: Floats) -> Floats:
    shifted = np.exp(log - log.max(axis=1, keepdims=True))
    result: Floats = shifted / shifted.sum(axis=1, keepdims=True)
    return result
