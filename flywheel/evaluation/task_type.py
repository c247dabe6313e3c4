"""How answers of each kind of use case are judged: the one place that tells the kinds apart there.

Pictures are judged as texts that are classified are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from flywheel.config import UseCase
from flywheel.evaluation import metrics, rouge
from flywheel.records import Report
from flywheel.records.answers import Answer, top


class TaskType(Protocol):
    @property
    def golden_score(self) -> float:
        """What a golden example's answer must be worth at least."""

    def row_score(self, answer: Answer, label: str) -> float:
        """What an answer is worth, in [0, 1]."""

    def report(
        self,
        *,
        digest: str,
        gold: Mapping[str, str],
        answers: Mapping[str, Answer],
        latency_ms: float,
    ) -> Report:
        """Score a contender's answers on the rows of ``gold``, example_id → label."""


def task_type(use_case: UseCase, labels: Sequence[str] | None = None) -> TaskType:
    """That of a use case; ``labels`` are those that answers are over, by default its own."""
    if use_case.is_generation:
        return Generation(use_case.gate.golden_rouge_l)
    return Classification(tuple(use_case.label_names if labels is None else labels))


@dataclass(frozen=True)
class Classification:
    """An answer is worth 1 where the likeliest label is the right one, else 0."""

    labels: tuple[str, ...]
    golden_score: float = 1.0

    def row_score(self, answer: Answer, label: str) -> float:
        return float(top(answer) == label)

    def report(
        self,
        *,
        digest: str,
        gold: Mapping[str, str],
        answers: Mapping[str, Answer],
        latency_ms: float,
    ) -> Report:
        return metrics.report(
            digest=digest, labels=self.labels, gold=gold, answers=answers, latency_ms=latency_ms
        )


@dataclass(frozen=True)
class Generation:
    """A written text is worth its ROUGE-L with the reference."""

    golden_score: float

    def row_score(self, answer: Answer, label: str) -> float:
        return rouge.share(top(answer), [label]).rouge_l

    def report(
        self,
        *,
        digest: str,
        gold: Mapping[str, str],
        answers: Mapping[str, Answer],
        latency_ms: float,
    ) -> Report:
        references = {name: (label,) for name, label in gold.items()}
        return rouge.report(digest=digest, gold=references, answers=answers, latency_ms=latency_ms)
