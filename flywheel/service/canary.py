"""The canary set: texts that a loaded version must answer sensibly before anybody else asks it.

Asked through the queue and the batches that customers' texts go through. The gate has judged how
good the version is; this finds out whether what was loaded here works at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from flywheel import rouge
from flywheel.config import UseCase
from flywheel.errors import ServedDiffers
from flywheel.images import probes
from flywheel.service.batching import Answered, Batcher
from flywheel.service.engine import Engine

TOLERANCE = 0.15
"""How far a text's probabilities may move with the texts beside it, as in `tasks.verify`."""
LEAST_LIKENESS = 0.5
"""How alike written answers must be, on the mean of few texts: one word can change all that follow.
"""


def texts_of(use_case: UseCase) -> list[str]:
    """Golden texts, then the labels' meanings: each, some, and all in one; or drawn pictures.

    Without labels, what the use case says of itself.
    """
    golden = [one.text for one in use_case.golden]
    if use_case.sees:
        return golden + probes()
    if use_case.generates:
        said = [use_case.description, use_case.prompt.replace("{text}", use_case.description)]
        return golden + said
    meanings = list(use_case.labels.values())
    joined = [" ".join(meanings[:upto]) for upto in range(1, len(meanings) + 1)]
    return golden + meanings + joined


async def check(
    batcher: Batcher, use_case: UseCase, candidate: Engine, serving: Engine | None
) -> None:
    """Ask the candidate, alone and in a batch, and on golden texts beside the one that serves.

    Raises:
        ServedDiffers: it answers other labels, not the same alone as in company, the same to
            every text, or a golden text wrongly that is answered rightly now. Where answers are
            written: none of them holds a word, or they are others alone than in company.
    """
    who = f"{use_case.name} version {candidate.version}"
    texts = texts_of(use_case)
    together = await batcher.answer(texts, engine=candidate, bounded=False)
    if use_case.generates:
        alone = [(await batcher.answer([t], engine=candidate, bounded=False))[0] for t in texts]
        _written_alike(who, [top(one) for one in together], [top(one) for one in alone])
    else:
        await _labels_alike(batcher, use_case, candidate, texts, together)
    if serving is not None and use_case.golden:
        now = await batcher.answer(texts[: len(use_case.golden)], engine=serving, bounded=False)
        _golden_stay(who, use_case, together, now)


async def _labels_alike(
    batcher: Batcher,
    use_case: UseCase,
    candidate: Engine,
    texts: Sequence[str],
    together: Sequence[Answered],
) -> None:
    who = f"{use_case.name} version {candidate.version}"
    for number, (text, one) in enumerate(zip(texts, together, strict=True), start=1):
        if set(one.probabilities) != set(use_case.labels):
            raise ServedDiffers(f"{who} answers labels {', '.join(sorted(one.probabilities))}.")
        (lone,) = await batcher.answer([text], engine=candidate, bounded=False)
        moved = max(abs(p - lone.probabilities[n]) for n, p in one.probabilities.items())
        if not moved <= TOLERANCE:
            raise ServedDiffers(
                f"{who} answers canary text {number} {moved:.2f} otherwise alone than in a batch "
                f"(at most {TOLERANCE})."
            )
    if len({tuple(one.probabilities.values()) for one in together}) == 1:
        raise ServedDiffers(f"{who} answers all {len(texts)} canary texts the same.")


def _written_alike(who: str, together: Sequence[str], alone: Sequence[str]) -> None:
    if not any(text.strip() for text in together):
        raise ServedDiffers(f"{who} writes nothing to all {len(together)} canary texts.")
    alike = fmean(rouge.likeness(a, b) for a, b in zip(together, alone, strict=True))
    if not alike >= LEAST_LIKENESS:
        raise ServedDiffers(
            f"{who} writes otherwise alone than in a batch: {alike:.2f} alike by ROUGE-L "
            f"(at least {LEAST_LIKENESS})."
        )


def _golden_stay(
    who: str, use_case: UseCase, candidate: Sequence[Answered], serving: Sequence[Answered]
) -> None:
    def right(answered: Answered, wanted: str) -> bool:
        if use_case.generates:
            return rouge.share(top(answered), [wanted]).rouge_l >= use_case.gate.golden_rouge_l
        return top(answered) == wanted

    for number, (golden, before) in enumerate(zip(use_case.golden, serving, strict=True), start=1):
        if right(before, golden.label) and not right(candidate[number - 1], golden.label):
            raise ServedDiffers(f"{who} fails golden text {number}, which is answered rightly now.")


def top(answered: Answered) -> str:
    """The likeliest label."""
    return max(answered.probabilities, key=answered.probabilities.__getitem__)
