"""How like the measured answers those of an export are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from flywheel.evaluation import rouge
from flywheel.gate.served_answers import TIE
from flywheel.records.answers import top


@dataclass(frozen=True)
class Asked:
    """A row of the holdout: its text, the right answer, and what was measured."""

    text: str
    right: str
    measured: Mapping[str, float]


@dataclass(frozen=True)
class Score:
    """An export beside what was measured, on the same ``rows`` of the holdout.

    ``same`` counts the rows whose answers are the same, ``tied`` those that have another label now,
    which was measured within `TIE` of the likeliest: what rounding explains. ``agreement`` is the
    share of both, or the mean ROUGE-L between written answers. Differences are of a row's
    probabilities, the largest of its labels; None where answers are written. ``quality`` is
    accuracy, or mean ROUGE-L with the references. All in [0, 1] but the counts.
    """

    rows: int
    same: int
    tied: int
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
    told = [top(answer) for answer in answers]
    before = [top(row.measured) for row in rows]
    finite = [math.isfinite(one) for one in far]
    same = sum(ok and a == b for ok, a, b in zip(finite, told, before, strict=True))
    tied = sum(
        ok and a != b and row.measured[b] - row.measured[a] <= TIE
        for ok, a, b, row in zip(finite, told, before, rows, strict=True)
    )
    return Score(
        rows=len(rows),
        same=same,
        tied=tied,
        agreement=(same + tied) / len(rows),
        largest_difference=max(far),
        mean_difference=fmean(far),
        quality=fmean(a == row.right for a, row in zip(told, rows, strict=True)),
        measured_quality=fmean(b == row.right for b, row in zip(before, rows, strict=True)),
    )


def of_texts(rows: Sequence[Asked], answers: Sequence[Mapping[str, float]]) -> Score:
    """Written answers beside those measured."""
    told = [top(answer) for answer in answers]
    before = [top(row.measured) for row in rows]
    return Score(
        rows=len(rows),
        same=sum(a == b for a, b in zip(told, before, strict=True)),
        tied=0,
        agreement=fmean(rouge.likeness(a, b) for a, b in zip(told, before, strict=True)),
        largest_difference=None,
        mean_difference=None,
        quality=fmean(rouge.likeness(a, row.right) for a, row in zip(told, rows, strict=True)),
        measured_quality=fmean(
            rouge.likeness(b, row.right) for b, row in zip(before, rows, strict=True)
        ),
    )


def _distance(measured: Mapping[str, float], answer: Mapping[str, float]) -> float:
    if set(measured) != set(answer) or not all(map(math.isfinite, answer.values())):
        return math.inf
    return max(abs(p - answer[label]) for label, p in measured.items())
