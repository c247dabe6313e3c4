"""The canary set: texts that a loaded version must answer sensibly before anybody else asks it.

Asked through the queue and the batches that customers' texts go through. The gate has judged how
good the version is; this finds out whether what was loaded here works at all.
"""

from __future__ import annotations

from collections.abc import Sequence

from flywheel.config import UseCase
from flywheel.errors import ServedDiffers
from flywheel.service.batching import Answered, Batcher
from flywheel.service.engine import Engine

TOLERANCE = 0.15
"""How far a text's probabilities may move with the texts beside it, as in `tasks.verify`."""


def texts_of(use_case: UseCase) -> list[str]:
    """Golden texts, then the labels' meanings: each, some, and all in one."""
    meanings = list(use_case.labels.values())
    joined = [" ".join(meanings[:upto]) for upto in range(1, len(meanings) + 1)]
    return [golden.text for golden in use_case.golden] + meanings + joined


async def check(
    batcher: Batcher, use_case: UseCase, candidate: Engine, serving: Engine | None
) -> None:
    """Ask the candidate, alone and in a batch, and on golden texts beside the one that serves.

    Raises:
        ServedDiffers: it answers other labels, not the same alone as in company, the same to
            every text, or a golden text wrongly that is answered rightly now.
    """
    who = f"{use_case.name} version {candidate.version}"
    texts = texts_of(use_case)
    together = await batcher.answer(texts, engine=candidate, bounded=False)
    for number, (text, one) in enumerate(zip(texts, together, strict=True), start=1):
        if set(one.probabilities) != set(use_case.labels):
            raise ServedDiffers(f"{who} answers labels {', '.join(sorted(one.probabilities))}.")
        (alone,) = await batcher.answer([text], engine=candidate, bounded=False)
        moved = max(abs(p - alone.probabilities[n]) for n, p in one.probabilities.items())
        if not moved <= TOLERANCE:
            raise ServedDiffers(
                f"{who} answers canary text {number} {moved:.2f} otherwise alone than in a batch "
                f"(at most {TOLERANCE})."
            )
    if len({tuple(one.probabilities.values()) for one in together}) == 1:
        raise ServedDiffers(f"{who} answers all {len(texts)} canary texts the same.")
    if serving is not None and use_case.golden:
        now = await batcher.answer(texts[: len(use_case.golden)], engine=serving, bounded=False)
        _golden_stay(who, use_case, together, now)


def _golden_stay(
    who: str, use_case: UseCase, candidate: Sequence[Answered], serving: Sequence[Answered]
) -> None:
    for number, (golden, before) in enumerate(zip(use_case.golden, serving, strict=True), start=1):
        if top(before) == golden.label != top(candidate[number - 1]):
            raise ServedDiffers(f"{who} fails golden text {number}, which is answered rightly now.")


def top(answered: Answered) -> str:
    """The likeliest label."""
    return max(answered.probabilities, key=answered.probabilities.__getitem__)
