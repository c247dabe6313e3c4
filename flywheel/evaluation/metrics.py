"""From answers to numbers: the one place where a contender's holdout is marked."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from flywheel.errors import DataError, NotEnoughData
from flywheel.records import Report

BINS = 10
"""Equal-width confidence bins; 10 as in Naeini et al. 2015."""
SUM_TOLERANCE = 1e-3
"""A row's probabilities may miss 1 by this much (half-precision rounding); then they are scaled."""
SMALLEST = 1e-12
"""Probabilities are raised to this before the logarithm, so one row costs at most 27.6 nats."""

Floats = npt.NDArray[np.float64]


def report(
    *,
    digest: str,
    labels: tuple[str, ...],
    gold: Mapping[str, str],
    answers: Mapping[str, Mapping[str, float]],
    latency_ms: float,
) -> Report:
    """Mark one contender's answers against the holdout.

    Args:
        digest: Identifies the artifact that answered.
        labels: Every label there is; a tie for the top goes to the earlier one.
        gold: example_id → right label. These rows are the holdout; further answers are ignored.
        answers: example_id → label → probability in [0, 1], summing to 1, for every label.
        latency_ms: Milliseconds per row, at least 0.

    Returns:
        The report, rows in ``sorted(gold)`` order. ``macro_f1`` is the mean over the classes that
        occur in ``gold``. ``per_class`` holds precision, recall, f1 and support for every label; a
        share of nothing counts as 0. ``log_loss`` is in nats.

    Raises:
        NotEnoughData: ``gold`` is empty.
        DataError: a row has no answer, a label that is unknown or missing, or probabilities that
            are NaN, negative or do not sum to 1; or the latency is not a number of at least 0.
    """
    from sklearn.metrics import precision_recall_fscore_support

    if not gold:
        raise NotEnoughData(
            f"The holdout for {digest} has 0 rows; at least 1 is needed. Not marked."
        )
    if not (math.isfinite(latency_ms) and latency_ms >= 0):
        raise DataError(f"latency_ms for {digest} must be at least 0, found {latency_ms}.")
    rows = tuple(sorted(gold))
    right = np.array([_position(row, gold[row], labels) for row in rows])
    scores = np.array([_scores(row, answers, labels, digest) for row in rows])
    scores /= scores.sum(axis=1, keepdims=True)
    top = scores.argmax(axis=1)
    correct = top == right
    precision, recall, f1, support = precision_recall_fscore_support(
        right, top, labels=np.arange(len(labels)), zero_division=0.0
    )
    per_class = {
        label: {
            "precision": float(precision[i]),
            "recall": float(recall[i]),
            "f1": float(f1[i]),
            "support": float(support[i]),
        }
        for i, label in enumerate(labels)
    }
    of_right = scores[np.arange(len(rows)), right]
    return Report(
        digest=digest,
        example_ids=rows,
        correct=tuple(bool(c) for c in correct),
        accuracy=float(correct.mean()),
        macro_f1=float(f1[support > 0].mean()),
        # Adding 0.0 turns the -0.0 of a perfect holdout into 0.0.
        log_loss=float(-np.log(np.clip(of_right, SMALLEST, 1.0)).mean()) + 0.0,
        calibration_error=expected_calibration_error(scores.max(axis=1), correct),
        latency_ms=float(latency_ms),
        per_class=per_class,
        answered=tuple(labels[i] for i in top),
        confidence=tuple(float(c) for c in scores.max(axis=1)),
    )


def expected_calibration_error(confidence: Floats, correct: npt.NDArray[np.bool_]) -> float:
    """Mean gap between stated confidence and accuracy, weighted by bin; in [0, 1], 0 is perfect.

    Naeini et al. 2015 (AAAI), in the top-label form of Guo et al. 2017 (ICML): equal-width bins
    that are open on the left and closed on the right. ``confidence`` is in (0, 1], shape (row,).
    """
    bins = np.digitize(confidence, np.linspace(0.0, 1.0, BINS + 1)[1:-1], right=True)
    # count / rows * |mean gap| of a bin is |sum of its gaps| / rows.
    gaps = np.bincount(bins, weights=correct - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def _position(row: str, label: str, labels: tuple[str, ...]) -> int:
    if label not in labels:
        raise DataError(
            f"Holdout row {row} has the label {label!r}; known labels: {_list(labels)}."
        )
    return labels.index(label)


def _scores(
    row: str, answers: Mapping[str, Mapping[str, float]], labels: tuple[str, ...], digest: str
) -> list[float]:
    answer = answers.get(row)
    if answer is None:
        raise DataError(
            f"Holdout row {row} has no answer from {digest}. Not marked; answer all rows."
        )
    if set(answer) != set(labels):
        raise DataError(
            f"Holdout row {row}: {digest} must give one probability to each of {_list(labels)}, "
            f"found {_list(answer) or 'none'}."
        )
    scores = [float(answer[label]) for label in labels]
    total = math.fsum(scores)
    # Written so that NaN, for which every comparison is false, fails.
    if not (all(score >= 0 for score in scores) and abs(total - 1) <= SUM_TOLERANCE):
        raise DataError(
            f"Holdout row {row}: {digest} must give probabilities of at least 0 that sum to 1 "
            f"(± {SUM_TOLERANCE}), found {scores}, sum {total:.6g}."
        )
    return scores


def _list(names: Mapping[str, float] | tuple[str, ...]) -> str:
    return ", ".join(names)
