"""How like the measured answers those of an export are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from flywheel import rouge


@dataclass(frozen=True)
class Asked:
    """A row of the exam: its text, the right answer, and what was measured."""

    text: str
    right: str
    measured: Mapping[str, float]


@dataclass(frozen=True)
class Score:
    """An export beside what was measured, on the same ``rows`` of the exam.

    ``agreement`` is the share of rows with the same likeliest label, or the mean ROUGE-L between
    both written answers; ``same`` counts the rows whose answers are the same. Differences are of a
    row's probabilities, the largest of its labels; None where answers are written. ``quality`` is
    accuracy, or mean ROUGE-L with the references. All in [0, 1] but the counts.
    """

    rows: int
    same: int
    agreement: float
    largest_difference: float | None
    mean_difference: float | None
    quality: float
    measured_quality: float

    @property
    def measure(self) -> str:
        """What ``quality`` is."""
        return "rouge_l" if self.largest_difference is None else "accuracy"


def of_labels(rows: Sequence[Asked], answers: Sequence[Mapping[str, float]]) -> Score:
    """Chosen labels beside those measured. What is no number agrees with nothing."""
    pairs = list(zip(rows, answers, strict=True))
    far = [_distance(row.measured, answer) for row, answer in pairs]
    told = [_likeliest(answer) for answer in answers]
    before = [_likeliest(row.measured) for row in rows]
    same = sum(math.isfinite(d) and a == b for a, b, d in zip(told, before, far, strict=True))
    return Score(
        rows=len(rows),
        same=same,
        agreement=same / len(rows),
        largest_difference=max(far),
        mean_difference=fmean(far),
        quality=fmean(a == row.right for a, row in zip(told, rows, strict=True)),
        measured_quality=fmean(b == row.right for b, row in zip(before, rows, strict=True)),
    )


def of_texts(rows: Sequence[Asked], answers: Sequence[Mapping[str, float]]) -> Score:
    """Written answers beside those measured."""
    told = [rouge.written(answer) for answer in answers]
    before = [rouge.written(row.measured) for row in rows]
    return Score(
        rows=len(rows),
        same=sum(a == b for a, b in zip(told, before, strict=True)),
        agreement=fmean(rouge.likeness(a, b) for a, b in zip(told, before, strict=True)),
        largest_difference=None,
        mean_difference=None,
        quality=fmean(rouge.likeness(a, row.right) for a, row in zip(told, rows, strict=True)),
        measured_quality=fmean(
            rouge.likeness(b, row.right) for b, row in zip(before, rows, strict=True)
        ),
    )


def _likeliest(answer: Mapping[str, float]) -> str:
    return max(answer, key=answer.__getitem__)


def _distance(measured: Mapping[str, float], answer: Mapping[str, float]) -> float:
    if set(measured) != set(answer) or not all(map(math.isfinite, answer.values())):
        return math.inf
    return max(abs(p - answer[label]) for label, p in measured.items())
