"""Ask the registered version again, as it is served, before it may become champion."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from prefect import task

from flywheel import artefact, fingerprint, rouge, snapshots
from flywheel.config import Home, UseCase
from flywheel.errors import DataError, DigestMismatch, ServedDiffers
from flywheel.registry import Registry, Version
from flywheel.store import contenders, open_store
from tasks import retry_if_transient

log = logging.getLogger(__name__)

ROW_TOLERANCE, MEAN_TOLERANCE = 0.15, 0.03
"""How far probabilities may be from the measured ones: on one row, and on the mean over all.

In bf16 a row's sums depend on the rows beside it in the batch. With the default use case's 518 exam
rows, batched anew at random, the worst row moved by 0.056, and samples of 32 rows by 0.013 on the
mean at most; the answers of the champion before were 0.083 away on the mean at least
(``python -m benchmarks.served_noise``).
"""

LEAST_LIKENESS = 0.8
"""The least mean ROUGE-L between answers written now and those measured.

Which rows are in a batch changes bf16 sums, and with them now and then a word and all that follows.
Of 62 summaries of DialogSum, batched anew at random twice, samples of 32 were 0.889 alike at least;
those of the next night's model 0.714 at most (``python -m benchmarks.served_noise -u USE_CASE``).
"""


def exam_sample(
    use_case: UseCase, home: Home, version: Version, *, rows: int | None = None
) -> dict[str, dict[str, float]]:
    """Text → the probabilities that were measured, for ``rows`` (gate.verify_rows) exam rows.

    Which rows follows from the digest, so that no two versions are asked the same ones, and the
    same version always is. Empty when the exam or its answers are not here any more.
    """
    try:
        examples = snapshots.read(home.snapshots, version.snapshot_id)
    except DataError:
        return {}
    with open_store(home.warehouse) as store:
        measured = contenders.scores(store, use_case.name, version.digest)
    asked = sorted(
        (e for e in examples if e.split == "exam" and e.example_id in measured),
        key=lambda e: hashlib.sha256(f"{version.digest}{e.example_id}".encode()).digest(),
    )
    return {e.text: measured[e.example_id] for e in asked[: rows or use_case.gate.verify_rows]}


def check_measured(use_case: UseCase, home: Home, version: Version) -> None:
    """Compare a registered version with what was measured; no model is loaded.

    Asked of the files as they lie in the registry, once with the use case as it is written now and
    once with the one that the version is served with.

    Raises:
        DigestMismatch: base, adapter, prompt, labels or a decisive library differ.
        DataError: the version was not registered by a night, or the base is not complete.
    """
    config = Registry(home).served_config(version)
    what = f"{use_case.name} version {version.version}"
    if config["digest"] != version.digest:
        raise DigestMismatch(
            f"{what} was registered as {version.digest[:12]}, but its files would be served as "
            f"{config['digest'][:12]}. It may not be champion."
        )
    for case in (use_case, UseCase.model_validate(config["use_case"])):
        found = fingerprint.of(
            case, artefact.base_folder(case, home, version.adapter_dir), version.adapter_dir
        )
        fingerprint.require_same(version.measured, found, what=what, so="It may not be champion.")


def check_served(
    use_case: UseCase, home: Home, version: Version, expected: Mapping[str, Mapping[str, float]]
) -> None:
    """As `verify_served`, outside of a flow."""
    from flywheel import inference

    if not expected:
        raise ServedDiffers(
            f"{use_case.name} version {version.version} has no measured answers to compare with; "
            "it is not promoted."
        )
    try:
        answers = Registry(home).answer_as_served(version, list(expected))
    finally:
        inference.release()
    if use_case.generates:
        _require_alike(use_case, version, expected.values(), [one["label"] for one in answers])
        return
    faults = [
        fault
        for measured, answer in zip(expected.values(), answers, strict=True)
        if (fault := _differs(measured, answer["label"], answer["probabilities"]))
    ]
    mean = math.nan if faults else _mean_distance(expected.values(), answers)
    if faults or mean > MEAN_TOLERANCE:
        found = (
            f"{len(faults)} of {len(expected)} exam rows otherwise (first: {faults[0]})"
            if faults
            else f"{len(expected)} exam rows {mean:.3f} off on the mean (at most {MEAN_TOLERANCE})"
        )
        raise ServedDiffers(
            f"{use_case.name} version {version.version}, loaded as it is served, answers {found} "
            "than when it was measured. It is not promoted; the champion is unchanged.",
            rows=len(expected),
            wrong=len(faults),
        )
    log.info(
        "version %s answers %d exam rows as measured, loaded as it is served",
        version.version,
        len(expected),
    )


@task(retries=3, retry_delay_seconds=5, retry_condition_fn=retry_if_transient)
def verify_served(
    use_case: UseCase, home: Home, version: Version, expected: Mapping[str, Mapping[str, float]]
) -> None:
    """Load ``version`` as it is served and compare its answers with ``expected``, text by text.

    Raises:
        ServedDiffers: labels or probabilities differ by more than rounding explains
            (`ROW_TOLERANCE`, `MEAN_TOLERANCE`), or there is nothing to compare with.
        DigestMismatch: it refuses to answer.
    """
    check_served(use_case, home, version, expected)


def _require_alike(
    use_case: UseCase,
    version: Version,
    measured: Iterable[Mapping[str, float]],
    answers: Sequence[str],
) -> None:
    """Written answers must be nearly the ones measured.

    Raises:
        ServedDiffers: they are not; no text is quoted.
    """
    likeness = [
        rouge.likeness(answer, rouge.written(before))
        for answer, before in zip(answers, measured, strict=True)
    ]
    if not fmean(likeness) >= LEAST_LIKENESS:
        raise ServedDiffers(
            f"{use_case.name} version {version.version}, loaded as it is served, writes "
            f"{len(likeness)} answers that are {fmean(likeness):.3f} like those measured, by "
            f"ROUGE-L (at least {LEAST_LIKENESS}). It is not promoted; the champion is unchanged.",
            rows=len(likeness),
            wrong=sum(one < LEAST_LIKENESS for one in likeness),
        )
    log.info(
        "version %s writes %d answers %.3f like those measured, loaded as it is served",
        version.version,
        len(likeness),
        fmean(likeness),
    )


def _differs(
    measured: Mapping[str, float], label: str, probabilities: Mapping[str, float]
) -> str | None:
    """What differs, in numbers; None when nothing does beyond what rounding explains."""
    if set(probabilities) != set(measured):
        return f"labels {', '.join(sorted(probabilities))}"
    top = max(measured, key=measured.__getitem__)
    if not measured[top] - measured[label] <= ROW_TOLERANCE:
        return f"{label} where {top} was measured with {measured[top]:.3f}"
    for name, probability in measured.items():
        # written so that a nan differs
        if not abs(probability - probabilities[name]) <= ROW_TOLERANCE:
            return f"{name} {probabilities[name]:.3f} where {probability:.3f} was measured"
    return None


def _mean_distance(
    measured: Iterable[Mapping[str, float]], answers: Sequence[Mapping[str, Any]]
) -> float:
    return fmean(
        max(abs(row[name] - answer["probabilities"][name]) for name in row)
        for row, answer in zip(measured, answers, strict=True)
    )
