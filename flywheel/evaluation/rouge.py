"""From written answers to numbers: the words that they share with what people wanted.

ROUGE (Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries"), computed by Google's
`rouge-score`. Words are those of `flywheel.text.segmentation`, case folded, not stemmed: its own
tokenizer drops all that is not ASCII, and stems English only. Of Chinese, Japanese, Thai and other
scripts without spaces each character is a word of its own.

What it cannot see: an answer with the right words and the wrong meaning ("not") scores high, a good
one in other words low. docs/guides/written-answers.md says what follows for the gate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean
from typing import Any

from flywheel.errors import DataError, NotEnoughData
from flywheel.records import Overlap, Report
from flywheel.records.answers import top
from flywheel.text import segmentation
from flywheel.text.normalize import normalise

_TYPES = ("rouge1", "rouge2", "rougeL")


@dataclass(frozen=True)
class Shared:
    """F-measures in [0, 1] of one answer: single words, pairs of words, longest common sequence."""

    rouge_1: float
    rouge_2: float
    rouge_l: float


class _Words:
    """What `rouge-score` takes for a tokenizer."""

    def tokenize(self, text: str) -> list[str]:
        return segmentation.words(normalise(text))


@cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(list(_TYPES), tokenizer=_Words())


def share(answer: str, references: Sequence[str]) -> Shared:
    """How much of ``references`` is in ``answer``; of several, each measure takes the best.

    An answer without words shares nothing.

    Raises:
        DataError: there is no reference.
    """
    if not references:
        raise DataError("An answer was to be compared with no reference at all.")
    found = _scorer().score_multi(list(references), answer)
    return Shared(*(float(found[name].fmeasure) for name in _TYPES))


def exact(answer: str, references: Sequence[str]) -> bool:
    """Whether the answer is a reference, but for case, width and spacing."""
    return normalise(answer) in {normalise(reference) for reference in references}


def likeness(one: str, other: str) -> float:
    """How much two answers have in common, in [0, 1]; 1 when they are the same, even if empty."""
    return 1.0 if exact(one, [other]) else share(one, [other]).rouge_l


def report(
    *,
    digest: str,
    gold: Mapping[str, Sequence[str]],
    answers: Mapping[str, Mapping[str, float]],
    latency_ms: float,
) -> Report:
    """Mark one contender's written answers against the holdout.

    Args:
        digest: Identifies the artifact that answered.
        gold: example_id → references. These rows are the holdout; further answers are ignored.
        answers: example_id → the text written → 1.
        latency_ms: Milliseconds per row, at least 0.

    Returns:
        The report, rows in ``sorted(gold)`` order; ``accuracy`` is the share of exact matches.

    Raises:
        NotEnoughData: ``gold`` is empty.
        DataError: a row has no answer, several, or no reference; or the latency is no number.
    """
    if not gold:
        raise NotEnoughData(
            f"The holdout for {digest} has 0 rows; at least 1 is needed. Not marked."
        )
    if not (math.isfinite(latency_ms) and latency_ms >= 0):
        raise DataError(f"latency_ms for {digest} must be at least 0, found {latency_ms}.")
    rows = tuple(sorted(gold))
    texts = tuple(_one(row, answers.get(row), digest) for row in rows)
    found = [share(text, gold[row]) for row, text in zip(rows, texts, strict=True)]
    correct = tuple(exact(text, gold[row]) for row, text in zip(rows, texts, strict=True))
    return Report(
        digest=digest,
        example_ids=rows,
        correct=correct,
        accuracy=fmean(correct),
        macro_f1=None,
        log_loss=None,
        calibration_error=None,
        latency_ms=float(latency_ms),
        per_class={},
        answered=texts,
        confidence=(),
        overlap=Overlap(
            rouge_1=fmean(one.rouge_1 for one in found),
            rouge_2=fmean(one.rouge_2 for one in found),
            rouge_l=fmean(one.rouge_l for one in found),
            rows=tuple(one.rouge_l for one in found),
        ),
    )


def _one(row: str, answer: Mapping[str, float] | None, digest: str) -> str:
    if answer is None:
        raise DataError(
            f"Holdout row {row} has no answer from {digest}. Not marked; answer all rows."
        )
    if len(answer) != 1:
        raise DataError(f"Holdout row {row}: {digest} must write one text, found {len(answer)}.")
    return top(answer)
