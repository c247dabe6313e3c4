"""Votes that push one label together: campaigns, bursts, trigger phrases, one loud customer.

Every vote is compared with what the other votes on its text, or a model learned from other texts,
would lead one to expect. Votes that share a feature (a phrase, a rater, a customer, an hour) and
exceed the expectation for one label together, by more than chance and more than such features
usually do (the empirical null of Efron 2004, JASA 99), are a campaign. Of its votes, those that
nothing else supports are held back; the rest stay.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ALPHA = 0.01
"""Chance of naming any campaign where there is none, over all features and labels."""
FEWEST = 8
"""A feature with fewer votes cannot show a campaign."""
LONGEST_PHRASE = 3
LARGE_FAMILY = 100
"""From this many features of a kind on, their own spread is the yardstick."""

Feature = tuple[str, Hashable]
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Campaign:
    """``votes`` share the feature and name ``label``, ``expected`` of them would be usual."""

    kind: str
    feature: str
    label: int
    votes: int
    expected: float
    score: float


def phrases(text: str) -> set[Feature]:
    """The one- to three-word phrases of a text, as features."""
    words = _WORD.findall(text.casefold())
    return {
        ("phrase", " ".join(words[start : start + size]))
        for size in range(1, LONGEST_PHRASE + 1)
        for start in range(len(words) - size + 1)
    }


def find_campaigns(
    features: Sequence[set[Feature]], named: Sequence[int], expected: npt.NDArray[np.float64]
) -> tuple[list[Campaign], npt.NDArray[np.bool_]]:
    """Find campaigns and the votes to hold back for them.

    Args:
        features: For each vote what it could share with others.
        named: For each vote the label number it names.
        expected: (votes, labels), the chance of each label by everything but this vote.

    Returns:
        Campaigns, the strongest first, and a mask over the votes.
    """
    from scipy.sparse import csr_matrix

    held = np.zeros(len(named), dtype=bool)
    if not len(named):
        return [], held
    index: dict[Feature, int] = {}
    rows, columns = [], []
    for row, having in enumerate(features):
        # sorted: a set's order differs between processes
        for feature in sorted(having, key=repr):
            rows.append(row)
            columns.append(index.setdefault(feature, len(index)))
    shape = (len(named), len(index))
    has = csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape).T.tocsr()
    y = np.asarray(named)
    chance = np.clip(expected, 1e-3, 1 - 1e-3)
    surprise = np.eye(expected.shape[1])[y] - chance
    size = np.asarray(has.sum(axis=1)).ravel()
    score = (has @ surprise) / np.sqrt(np.maximum(has @ (chance * (1 - chance)), 1e-12))
    tested = size >= FEWEST
    if not tested.any():
        return [], held
    kinds = np.array([kind for kind, _ in index])
    for kind in np.unique(kinds):
        family = tested & (kinds == kind)
        if family.sum() >= LARGE_FAMILY:
            centre = np.median(score[family], axis=0)
            spread = 1.4826 * np.median(np.abs(score[family] - centre), axis=0)
            score[family] = (score[family] - centre) / np.maximum(spread, 1.0)
    threshold = _normal_quantile(1 - ALPHA / (tested.sum() * expected.shape[1]))
    names = list(index)
    campaigns = []
    for feature, label in zip(*np.nonzero((score > threshold) & tested[:, None]), strict=True):
        voters = has.indices[has.indptr[feature] : has.indptr[feature + 1]]
        pushing = voters[y[voters] == label]
        held[pushing[chance[pushing, label] < 0.5]] = True
        kind, value = names[feature]
        campaigns.append(
            Campaign(
                kind=kind,
                feature=str(value),
                label=int(label),
                votes=len(pushing),
                expected=float(chance[voters, label].sum()),
                score=float(score[feature, label]),
            )
        )
    return sorted(campaigns, key=lambda c: (-c.score, c.kind, c.feature)), held


def _normal_quantile(probability: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(probability)
