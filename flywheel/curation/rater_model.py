"""Who can be believed: the likely label of each text, and how reliable each rater is.

Every text has a hidden true label. A vote is honest, and then follows a confusion matrix that all
honest raters share (Dawid & Skene 1979, Applied Statistics 28), or careless, and then follows the
rater's own habit whatever the text (MACE; Hovy et al. 2013, NAACL). Expectation-maximisation finds
labels, matrix, habits and the share of honest votes of each rater from the votes alone.

A matrix for each rater, as Dawid and Skene have it, needs more votes than customers give: with
three votes a text and 30 % of raters answering at random it recovered half of what a plain
majority loses, this two thirds (``python -m benchmarks.attacks``). A text with one vote keeps its
label and teaches nothing about anybody: from such texts alone the model would find that rare labels
are mistakes. An unknown rater is honest with ``HONEST``, and right, when honest, with ``ACCURACY``.
A rejection ("not this one") counts as the evidence that it is.

The matrix is learned from proven raters alone: those who are trusted, or who were right on texts
whose truth is known. Names cost nothing; a hundred that contradict each other would otherwise teach
that honest people are right by chance, and no label would be believed. Without a proven rater it
stays as assumed. Nor does what others say make a proven rater's vote surprising.

No single voice costs an unproven rater what it does not speak about. Of two who contradict each
other on many texts nobody knows who is wrong. So the texts on which one voice alone, unproven
itself, speaks against a rater say nothing of how reliable that rater is: those of the voice that
does so most often. Other voices, and a truth that is known, count as before. Nor does the commoner
label win where two unproven raters alone spoke on a text, for then whoever names it could turn what
one other said, nor where as many unproven raters named one label as another: such a text stays in
dispute.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

HONEST, HONEST_VOTES = 0.9, 2.0
"""The share of honest votes of a rater nothing is known of, and how many votes that is worth."""
ACCURACY, ACCURACY_VOTES = 0.8, 20.0
"""How often an honest rater is right before anything is known, and its worth in votes."""
HABIT_VOTES = 3.0
"""What a careless rater's even habit is worth in votes."""
PROVEN_VOTES = 5
"""A rater is proven by so many votes on texts whose truth is known, two thirds of them right or
more, or, of two labels, three quarters: halfway between chance and always."""
PRIOR_TEXTS = 5.0
"""How many texts of each label are assumed beside those seen."""
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
class LabelPosterior:
    """What the votes say.

    ``posterior`` is item → one probability per label, summing to 1. ``without`` has one row per
    vote, in the order given: the chance of each label being named by an honest rater, judged by
    the other votes on that text alone, those of ``proven`` raters by each other's. ``reliability``
    is rater → chance of naming the true label, over the labels as they occur, in [0, 1].
    ``votes_of`` counts a rater's votes.
    """

    posterior: Mapping[str, Floats]
    without: Floats
    reliability: Mapping[str, float]
    votes_of: Mapping[str, int]
    proven: frozenset[str] = frozenset()


def aggregate_labels(
    votes: Sequence[Vote],
    *,
    labels: Sequence[str],
    known: Mapping[str, str] | None = None,
    worth: Mapping[str, float] | None = None,
    trusted: Collection[str] = (),
) -> LabelPosterior:
    """Weigh the votes; the order they come in does not matter.

    Args:
        votes: At most one per item and rater. Labels are of ``labels``.
        labels: The classes, in the order of every posterior.
        known: Item → true label, for items whose truth is known; they show who is reliable.
        worth: Item → what it counts for as evidence about raters and labels, in (0, 1], 1 where
            missing: a text that was pasted a thousand times is one piece of evidence.
        trusted: Raters that are proven whatever they say.
    """
    number = {label: i for i, label in enumerate(labels)}
    items = {item: i for i, item in enumerate(sorted({vote.item for vote in votes}))}
    raters = {rater: i for i, rater in enumerate(sorted({vote.rater for vote in votes}))}
    k = len(labels)
    if not votes:
        return LabelPosterior({}, np.zeros((0, k)), {}, {})
    # a fixed order of votes makes every sum, and so every last digit, the same
    order = sorted(range(len(votes)), key=lambda i: (votes[i].item, votes[i].rater, votes[i].label))
    item = np.array([items[votes[i].item] for i in order])
    rater = np.array([raters[votes[i].rater] for i in order])
    named = np.array([number[votes[i].label] for i in order])
    against = np.array([votes[i].against for i in order])
    truth = np.full(len(items), -1)
    for name, label in (known or {}).items():
        if name in items and label in number:
            truth[items[name]] = number[label]

    share = np.array([(worth or {}).get(name, 1.0) for name in items])
    proven = _right(rater, named, against, truth[item], len(raters), k)
    proven |= np.array([name in trusted for name in raters])
    told = np.flatnonzero(proven[rater])
    matrix = _fit(
        item[told], rater[told], named[told], against[told], truth, share, len(raters), k
    ).matrix
    unheard = _one_voice(item, rater, named, against, share, proven, settled=truth[item] >= 0)
    model = _fit(item, rater, named, against, truth, share, len(raters), k, matrix, unheard)
    evidence = np.log(_chance(model, rater, named, against))
    known_by = np.bincount(item, weights=proven[rater].astype(np.float64), minlength=len(items))
    torn = (np.bincount(item, minlength=len(items)) == 2) | _tied(item, named, against, len(items))
    total = _total(model, item, evidence, len(items), unsettled=torn & (known_by == 0))
    others = _softmax(total[item] - evidence)
    theirs = _total(model, item[told], evidence[told], len(items))
    others[told] = _softmax(theirs[item[told]] - evidence[told])
    others[truth[item] >= 0] = np.eye(k)[truth[item][truth[item] >= 0]]
    without = np.empty((len(votes), k))
    without[order] = others @ model.matrix
    posterior = _posterior(total, truth)
    right = model.honest * (model.prior @ np.diag(model.matrix))
    right += (1 - model.honest) * (model.habits @ model.prior)
    counts = np.bincount(rater, minlength=len(raters))
    return LabelPosterior(
        posterior={name: posterior[i] for name, i in items.items()},
        without=without,
        reliability={name: float(right[i]) for name, i in raters.items()},
        votes_of={name: int(counts[i]) for name, i in raters.items()},
        proven=frozenset(name for name, i in raters.items() if proven[i]),
    )


def _right(
    rater: Integers,
    named: Integers,
    against: npt.NDArray[np.bool_],
    truth: Integers,
    raters: int,
    k: int,
) -> npt.NDArray[np.bool_]:
    """Which raters were right often enough; ``truth`` is that of each vote's text, -1 unknown."""
    judged = (truth >= 0) & ~against
    asked = np.bincount(rater[judged], minlength=raters)
    right = np.bincount(rater[judged & (named == truth)], minlength=raters)
    often: npt.NDArray[np.bool_] = right >= asked * (1 + 1 / k) / 2
    return often & (asked >= PROVEN_VOTES)


def _one_voice(
    item: Integers,
    rater: Integers,
    named: Integers,
    against: npt.NDArray[np.bool_],
    share: Floats,
    proven: npt.NDArray[np.bool_],
    *,
    settled: npt.NDArray[np.bool_],
) -> npt.NDArray[np.bool_]:
    """Votes that say nothing of their rater: only its loudest opponent speaks against them.

    Neither of both is proven, and the truth is not ``settled``. How loud an opponent is, is told by
    the texts that it alone contradicts, before anything is believed.
    """
    alike, label = np.unique(np.stack([item, named]), axis=1, return_inverse=True)
    label = label.reshape(-1)

    def opposing(weights: Floats) -> Floats:
        """Sum of weights, one for each vote, of the votes on the same text that speak against."""
        plain, back = np.where(against, 0.0, weights), np.where(against, weights, 0.0)
        every = np.bincount(item, weights=plain)[item]
        same = np.bincount(label, weights=plain, minlength=alike.shape[1])[label]
        rejected = np.bincount(label, weights=back, minlength=alike.shape[1])[label]
        return np.asarray(every - same + rejected, dtype=np.float64)

    alone = opposing(np.ones(len(item))) == 1
    alone &= ~against & ~settled & ~proven[rater]
    alone &= opposing(proven[rater].astype(np.float64)) == 0
    rows = np.flatnonzero(alone)
    # where there is one opponent, the sum of opponents is its number
    opponent = opposing(rater.astype(np.float64))[rows].astype(np.int64)
    pairs, pair = np.unique(np.stack([rater[rows], opponent]), axis=1, return_inverse=True)
    loud = np.bincount(pair.reshape(-1), weights=share[item[rows]], minlength=pairs.shape[1])
    loudest: dict[int, int] = {}
    for number in np.lexsort((pairs[1], -loud)):
        loudest.setdefault(int(pairs[0][number]), int(number))
    unheard = np.zeros(len(item), dtype=np.bool_)
    unheard[rows[np.isin(pair.reshape(-1), list(loudest.values()))]] = True
    return unheard


def _tied(
    item: Integers, named: Integers, against: npt.NDArray[np.bool_], items: int
) -> npt.NDArray[np.bool_]:
    """Items of which as many votes name one label as the next."""
    counts = np.zeros((items, int(named.max()) + 2), dtype=np.int64)
    np.add.at(counts, (item[~against], named[~against]), 1)
    first, second = np.sort(counts, axis=1)[:, :-3:-1].T
    tied: npt.NDArray[np.bool_] = (first == second) & (first > 0)
    return tied


def _total(
    model: _Model,
    item: Integers,
    evidence: Floats,
    items: int,
    *,
    unsettled: npt.NDArray[np.bool_] | None = None,
) -> Floats:
    """Log of the chance of each label of each item, up to a constant: (items, k).

    Which label is commoner elsewhere says nothing of items with one vote, nor of those that are
    ``unsettled``.
    """
    total = np.log(model.prior) + np.zeros((items, evidence.shape[1]))
    total[np.bincount(item, minlength=items) == 1] = 0.0
    if unsettled is not None:
        total[unsettled] = 0.0
    np.add.at(total, item, evidence)
    return total


@dataclass(frozen=True)
class _Model:
    """``prior`` (k,), ``matrix`` (true, named), ``honest`` (raters,), ``habits`` (raters, k)."""

    prior: Floats
    matrix: Floats
    honest: Floats
    habits: Floats


def _fit(
    item: Integers,
    rater: Integers,
    named: Integers,
    against: npt.NDArray[np.bool_],
    truth: Integers,
    share: Floats,
    raters: int,
    k: int,
    matrix: Floats | None = None,
    unheard: npt.NDArray[np.bool_] | None = None,
) -> _Model:
    """Expectation-maximisation; a ``matrix`` that is given stays as it is.

    Votes that are ``unheard`` say what their texts are, and nothing of their raters.
    """
    off = (1 - ACCURACY) / max(1, k - 1)
    assumed = np.full((k, k), off) + np.eye(k) * (ACCURACY - off)
    model = _Model(
        np.full(k, 1 / k),
        assumed if matrix is None else matrix,
        np.full(raters, HONEST),
        np.full((raters, k), 1 / k),
    )
    # where others spoke too, or the truth is known, there is something to learn
    shared = (np.bincount(item, minlength=len(truth)) > 1) | (truth >= 0)
    given = ~against & shared[item]
    if unheard is not None:
        given &= ~unheard
    r, y, of = rater[given], named[given], item[given]
    votes = np.bincount(r, weights=share[of], minlength=raters)
    texts = np.where(shared, share, 0.0)
    posterior = np.zeros((len(truth), k))
    for _ in range(MAX_ROUNDS):
        total = np.log(model.prior) + np.zeros((len(truth), k))
        np.add.at(total, item, np.log(_chance(model, rater, named, against)))
        latest = _posterior(total, truth)
        moved = float(np.abs(latest - posterior).max())
        posterior = latest
        # the share of each vote, under each true label, that is honest: (votes, k)
        chance = model.honest[r][:, None] * model.matrix[:, y].T
        honest = posterior[of] * chance / _chance(model, r, y, against[given])
        careless = share[of] * (1 - honest.sum(axis=1))
        honest *= share[of][:, None]
        sums = np.bincount(r, weights=honest.sum(axis=1), minlength=raters)
        habits = np.full((raters, k), HABIT_VOTES / k)
        np.add.at(habits, (r, y), careless)
        seen = ACCURACY_VOTES / k * assumed.T
        np.add.at(seen, y, honest)
        model = _Model(
            prior=model.prior,
            matrix=(seen / seen.sum(axis=0)).T if matrix is None else matrix,
            honest=(sums + HONEST_VOTES * HONEST) / (votes + HONEST_VOTES),
            habits=habits / habits.sum(axis=1, keepdims=True),
        )
        if moved < TOLERANCE:
            break
    # only now: raters who name what is common anyway would else be right by that alone
    prior = (texts @ posterior + PRIOR_TEXTS) / (texts.sum() + k * PRIOR_TEXTS)
    return replace(model, prior=prior)


def _chance(
    model: _Model, rater: Integers, named: Integers, against: npt.NDArray[np.bool_]
) -> Floats:
    """The chance of each vote under each true label: (votes, k), never 0."""
    honest = model.honest[rater]
    habit = model.habits[rater, named]
    chance = honest[:, None] * model.matrix[:, named].T + ((1 - honest) * habit)[:, None]
    result: Floats = np.where(against[:, None], 1 - chance, chance)
    return np.maximum(result, 1e-9)


def _posterior(total: Floats, truth: Integers) -> Floats:
    result = _softmax(total)
    result[truth >= 0] = np.eye(total.shape[1])[truth[truth >= 0]]
    return result


def _softmax(log: Floats) -> Floats:
    shifted = np.exp(log - log.max(axis=1, keepdims=True))
    result: Floats = shifted / shifted.sum(axis=1, keepdims=True)
    return result
