"""The self-test of a loaded version: what it is asked before anybody else asks it.

Asked through the queue and the batches that customers' texts go through. The gate has judged how
good the version is; this finds out whether what was loaded here answers as it was measured. Only
rows whose answers were measured can tell. Where none are kept here, answers to other texts are
compared with each other, and say nothing of the version beyond that.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from flywheel.config import UseCase
from flywheel.dataset.images import probes
from flywheel.errors import ServedDiffers
from flywheel.evaluation import rouge
from flywheel.evaluation.task_type import task_type
from flywheel.records.answers import top
from flywheel.serving.models.batching import Answered, Batcher
from flywheel.serving.models.engine import Engine
from flywheel.tracking import measured_answers
from flywheel.tracking.measured_answers import ROW_TOLERANCE

LEAST_LIKENESS = 0.5
"""How alike written answers must be, on the mean of few texts: one word can change all that follow.
"""
ALONE = 8
"""Texts that are asked once more, each alone: enough to find padding that changes answers."""


def texts_of(use_case: UseCase) -> list[str]:
    """What can be asked of every version, whatever it knows: golden texts, and made-up ones.

    Made up of what the use case says of itself; or drawn, where inputs are pictures.
    """
    golden = [one.text for one in use_case.golden]
    if use_case.is_image:
        return golden + probes()
    said = [use_case.description, use_case.prompt.replace("{text}", use_case.description)]
    return golden + said + ([] if use_case.is_generation else list(use_case.labels.values()))


async def check(
    batcher: Batcher, use_case: UseCase, candidate: Engine, serving: Engine | None
) -> None:
    """Ask the candidate what it was measured on, in a batch and alone.

    Without measured rows, golden texts are all whose right answers are known: they are compared
    with the answers of the version that serves.

    Raises:
        ServedDiffers: it answers other labels, not as measured, not the same alone as in company,
            or a golden text wrongly that is answered rightly now.
    """
    who = f"{use_case.name} version {candidate.version}"
    sample = candidate.measured
    texts = list(sample) or texts_of(use_case)
    together = await batcher.answer(texts, engine=candidate, bounded=False)
    if not use_case.is_generation:
        _require_labels(who, use_case, together)
    if sample:
        _require_measured(who, use_case, candidate, together)
    chosen = _spread(len(texts))
    alone = [(await batcher.answer([texts[i]], engine=candidate, bounded=False))[0] for i in chosen]
    _require_same_alone(who, use_case, [together[i] for i in chosen], alone)
    if serving is not None and not sample and use_case.golden:
        now = await batcher.answer(texts[: len(use_case.golden)], engine=serving, bounded=False)
        _golden_stay(who, use_case, together, now)


def _spread(texts: int) -> list[int]:
    """At most `ALONE` of the numbers of so many texts, evenly."""
    return sorted({i * texts // ALONE for i in range(ALONE)} if texts > ALONE else range(texts))


def _require_labels(who: str, use_case: UseCase, together: Sequence[Answered]) -> None:
    for one in together:
        if set(one.probabilities) != set(use_case.labels):
            raise ServedDiffers(f"{who} answers labels {', '.join(sorted(one.probabilities))}.")


def _require_measured(
    who: str, use_case: UseCase, candidate: Engine, together: Sequence[Answered]
) -> None:
    differs = measured_answers.difference(
        use_case, list(candidate.measured.values()), [one.probabilities for one in together]
    )
    if differs:
        raise ServedDiffers(f"{who}, loaded by the service, {differs.found}. It takes no traffic.")


def _require_same_alone(
    who: str, use_case: UseCase, together: Sequence[Answered], alone: Sequence[Answered]
) -> None:
    pairs = list(zip(together, alone, strict=True))
    if use_case.is_generation:
        alike = fmean(
            rouge.likeness(top(one.probabilities), top(lone.probabilities)) for one, lone in pairs
        )
        if not alike >= LEAST_LIKENESS:
            raise ServedDiffers(
                f"{who} writes otherwise alone than in a batch: {alike:.2f} alike by ROUGE-L "
                f"(at least {LEAST_LIKENESS})."
            )
        return
    for number, (one, lone) in enumerate(pairs, start=1):
        moved = max(abs(p - lone.probabilities[n]) for n, p in one.probabilities.items())
        if not moved <= ROW_TOLERANCE:
            raise ServedDiffers(
                f"{who} answers self-test text {number} {moved:.2f} otherwise alone than in a "
                f"batch (at most {ROW_TOLERANCE})."
            )


def _golden_stay(
    who: str, use_case: UseCase, candidate: Sequence[Answered], serving: Sequence[Answered]
) -> None:
    kind = task_type(use_case)

    def right(answered: Answered, wanted: str) -> bool:
        return kind.row_score(answered.probabilities, wanted) >= kind.golden_score

    for number, (golden, before) in enumerate(zip(use_case.golden, serving, strict=True), start=1):
        if right(before, golden.label) and not right(candidate[number - 1], golden.label):
            raise ServedDiffers(f"{who} fails golden text {number}, which is answered rightly now.")
