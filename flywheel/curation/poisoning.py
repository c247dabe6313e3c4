"""Votes that push one label together: campaigns, bursts, trigger phrases, one loud customer.

A vote is a surprise when everything else (the other votes on its text, or, where it stands alone, a
model learned from other texts) speaks clearly against the label it names. Honest people surprise at
a steady rate, whatever they talk about. Texts that share a feature (a phrase, a rater, a customer,
an hour) in their votes and surprise far more often for one label are a campaign: its surprising
votes are held back, and with them what the same raters said for that label under the same feature.
Texts are counted, not votes: people who disagree about one text are no campaign.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ALPHA = 0.05
"""Chance of naming any campaign where there is none, over all features and labels (Bonferroni)."""
CLEARLY = 0.15
"""Others speak clearly against a label that they leave less than this."""
FEWEST = 8
"""A campaign surprises on at least this many texts."""
LONGEST_PHRASE = 2

Feature = tuple[str, Hashable]
Mask = npt.NDArray[np.bool_]
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Campaign:
    """``texts`` surprising texts under ``feature`` for label number ``label``, not ``expected``."""

    kind: str
    feature: str
    label: int
    texts: int
    expected: float
    p_value: float


def phrases(text: str) -> set[Feature]:
    """The words and word pairs of a text, as features."""
    words = _WORD.findall(text.casefold())
    return {
        ("phrase", " ".join(words[start : start + size]))
        for size in range(1, LONGEST_PHRASE + 1)
        for start in range(len(words) - size + 1)
    }


def find_campaigns(
    features: Sequence[set[Feature]],
    texts: Sequence[str],
    raters: Sequence[str],
    named: Sequence[int],
    expected: npt.NDArray[np.float64],
) -> tuple[list[Campaign], Mask]:
    """Find campaigns and the votes to hold back for them.

    Args:
        features: For each vote what it could share with others.
        texts: For each vote the text it is about, by any id.
        raters: For each vote who gave it.
        named: For each vote the label number it names.
        expected: (votes, labels), the chance of each label by everything but this vote.

    Returns:
        Campaigns, the surest first, and a mask over the votes.
    """
    from scipy.stats import poisson

    y = np.asarray(named, dtype=np.int64)
    text = np.unique(np.asarray(texts, dtype=object), return_inverse=True)[1]
    held = np.zeros(len(y), dtype=bool)
    voters = _voters(features)
    surprised: list[tuple[Feature, int, int, float]] = []
    tests = 0
    for label in range(expected.shape[1]):
        clear = expected[:, label] < CLEARLY
        surprise = clear & (y == label)
        if len(np.unique(text[surprise])) < FEWEST:
            continue
        usual = _usual(expected[:, label], clear, surprise, text)
        for feature, rows in voters.items():
            asked = rows[clear[rows]]
            if len(asked) < FEWEST or len(asked) == clear.sum():
                continue
            tests += 1
            found = len(np.unique(text[asked[surprise[asked]]]))
            if found >= FEWEST:
                surprised.append((feature, label, found, _in_texts(usual[asked], text[asked])))
    if not surprised:
        return [], held
    p_values = poisson.sf([found - 1 for *_, found, _ in surprised], [e for *_, e in surprised])
    campaigns = []
    names = np.asarray(raters, dtype=object)
    for (feature, label, found, usually), p_value in zip(surprised, p_values, strict=True):
        if p_value > ALPHA / tests:
            continue
        rows = voters[feature]
        rows = rows[y[rows] == label]
        pushing = rows[expected[rows, label] < CLEARLY]
        held[rows[np.isin(names[rows], names[pushing])]] = True
        kind, value = feature
        campaigns.append(Campaign(kind, str(value), label, found, usually, float(p_value)))
    return sorted(campaigns, key=lambda c: (c.p_value, c.kind, c.feature, c.label)), held


def _voters(features: Sequence[set[Feature]]) -> dict[Feature, npt.NDArray[np.int64]]:
    """Feature → the votes that have it; of features with the same votes only the first by name."""
    found: dict[Feature, list[int]] = {}
    for row, having in enumerate(features):
        for feature in having:
            found.setdefault(feature, []).append(row)
    distinct: dict[bytes, Feature] = {}
    for feature in sorted(found, key=repr):
        if len(found[feature]) >= FEWEST:
            distinct.setdefault(np.array(found[feature]).tobytes(), feature)
    return {feature: np.array(found[feature]) for feature in distinct.values()}


def _usual(
    expected: npt.NDArray[np.float64], clear: Mask, surprise: Mask, text: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """The chance that each vote surprises, half from its text, half the overall rate.

    Scaled so that over all texts as many are expected to surprise as do.
    """
    rate = surprise.sum() / clear.sum()
    own = expected * (surprise.sum() / max(float(expected[clear].sum()), 1e-12))
    chance: npt.NDArray[np.float64] = (own + rate) / 2
    texts = len(np.unique(text[surprise]))
    return np.minimum(chance * texts / _in_texts(chance[clear], text[clear]), 1.0)


def _in_texts(chance: npt.NDArray[np.float64], text: npt.NDArray[np.int64]) -> float:
    """How many texts surprise by at least one of their votes, given each vote's chance."""
    none = np.zeros(int(text.max()) + 1)
    np.add.at(none, text, np.log1p(-np.minimum(chance, 1 - 1e-9)))
    return float((1 - np.exp(none)).sum())
