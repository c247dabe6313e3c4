"""What a text's label would be if learned from all the others: out-of-fold, by a cheap model.

The model is TF-IDF with logistic regression: weak, but quick, and no customer's label judges
itself. Where it does no better than the commonest label it knows nothing, and nobody is suspected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flywheel.evaluation import baselines

FOLDS = 5
SMALLEST = 50
"""Fewer rows than this cannot show who is wrong."""
LEARNED = 8_000
"""Rows that a fold's model learns from at most, so that a long history costs no more than this."""


@dataclass(frozen=True)
class OutOfFold:
    """``probabilities`` is (rows, labels), each row summing to 1; shares are in [0, 1]."""

    probabilities: npt.NDArray[np.float64]
    accuracy: float
    majority: float

    @property
    def knows_something(self) -> bool:
        """Better than always naming the commonest label, by more than chance would have it."""
        rows = max(1, len(self.probabilities))
        spread = (self.majority * (1 - self.majority) / rows) ** 0.5
        return bool(self.accuracy > self.majority + 2 * spread)


def out_of_fold(
    texts: Sequence[str], targets: Sequence[int], groups: Sequence[str], *, labels: int
) -> OutOfFold | None:
    """Predict each row from the rows of other groups; None when there are too few to try.

    Args:
        texts: One per row.
        targets: Label numbers in ``range(labels)``.
        groups: What must not straddle a fold: near-duplicates share one.
        labels: How many labels there are. One that never occurs gets probability 0.
    """
    from sklearn.linear_model import LogisticRegression

    y = np.asarray(targets)
    counts = np.bincount(y, minlength=labels) if len(y) else np.zeros(labels)
    if len(y) < SMALLEST or len(set(groups)) < FOLDS or (counts > 0).sum() < 2:
        return None
    if counts.max() < 2:
        # no row has another one of its label to learn from
        return None
    terms = baselines.vectorizer().build_analyzer()
    if not any(terms(text) for text in texts):
        # no word anywhere: pictograms, or punctuation alone
        return None
    # copies together are one piece of evidence
    sizes = Counter(groups)
    worth = np.array([1 / sizes[group] for group in groups])
    words = baselines.vectorizer().fit_transform(texts)
    probabilities = np.zeros((len(y), labels))
    draw = np.random.default_rng(0)
    for learn, judge in _folds(words, y, groups):
        if len(learn) > LEARNED:
            learn = draw.choice(learn, LEARNED, replace=False)
        if len(set(y[learn])) < 2:
            return None
        model = LogisticRegression(C=5.0, max_iter=500)
        # words that no row to learn from holds weigh nothing: the same model without them
        held = np.unique(words[learn].indices)
        model.fit(words[learn][:, held], y[learn], sample_weight=worth[learn])
        probabilities[np.ix_(judge, model.classes_)] = model.predict_proba(words[judge][:, held])
    right = probabilities.argmax(axis=1) == y
    return OutOfFold(
        probabilities=probabilities,
        accuracy=float(right @ worth / worth.sum()),
        majority=float(np.bincount(y, weights=worth).max() / worth.sum()),
    )


def _folds(words: Any, y: npt.NDArray[Any], groups: Sequence[str]) -> Iterator[tuple[Any, Any]]:
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    # many rows are level without care, and the careful way takes a step in Python for each group
    kind = GroupKFold if len(y) > LEARNED else StratifiedGroupKFold
    # no more folds than the commonest label has rows: each fold learns from some of every label
    folds = min(FOLDS, int(np.bincount(y).max()))
    return kind(folds, shuffle=True, random_state=0).split(words, y, groups)  # type: ignore[no-any-return]


def suspects(found: OutOfFold, targets: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Which labels are probably wrong, by confident learning (Northcutt et al. 2021)."""
    from cleanlab.filter import find_label_issues

    y = np.asarray(targets)
    present = np.unique(y)
    if len(present) < 2:
        return np.zeros(len(y), dtype=bool)
    # cleanlab wants the classes 0..k-1, each of them there
    shares = found.probabilities[:, present]
    shares = shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-12)
    flagged: npt.NDArray[np.bool_] = find_label_issues(
        np.searchsorted(present, y), shares, filter_by="both", n_jobs=1
    )
    return flagged
