"""Ask the registered version again, as it is served, before it may become champion."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence

from prefect import task

from flywheel.config import Home, UseCase
from flywheel.dataset import snapshots
from flywheel.errors import DataError, DigestMismatch, ServedDiffers
from flywheel.modeling import artifact, fingerprint
from flywheel.store import open_store
from flywheel.store.nights import contender_scores
from flywheel.tracking import measured_answers
from flywheel.tracking.measured_versions import require_files
from flywheel.tracking.versions import Version
from tasks import retry_if_transient
from tasks.champion import trusted_versions
from tasks.coordination.work_pool import NIGHT, Patience
from tasks.score import score_on_pool, scored_on_pool

log = logging.getLogger(__name__)

_NO_CHAMPION = "It may not be champion."


def holdout_sample(
    use_case: UseCase, home: Home, version: Version, *, rows: int | None = None
) -> dict[str, dict[str, float]]:
    """Text → the probabilities that were measured, for ``rows`` (gate.verify_rows) holdout rows.

    Which rows follows from the digest, so that no two versions are asked the same ones, and the
    same version always is. Empty when the holdout or its answers are not here any more.
    """
    try:
        examples = snapshots.read(home.snapshots, version.snapshot_id)
    except DataError:
        return {}
    with open_store(home.warehouse) as store:
        scores = contender_scores.scores(store, use_case.name, version.digest)
    asked = sorted(
        (e for e in examples if e.split == "holdout" and e.example_id in scores),
        key=lambda e: hashlib.sha256(f"{version.digest}{e.example_id}".encode()).digest(),
    )
    return {e.text: scores[e.example_id] for e in asked[: rows or use_case.gate.verify_rows]}


def keep_sample(use_case: UseCase, home: Home, version: Version) -> None:
    """Write the sample of `holdout_sample` where the service compares with it.

    Nothing is written where the holdout or its answers are not here any more.
    """
    if sample := holdout_sample(use_case, home, version):
        measured_answers.write(home.measured, use_case.name, version.digest, sample)


def check_measured(
    use_case: UseCase, home: Home, version: Version, *, as_written: bool = True
) -> None:
    """Compare a registered version with what a night measured; no model is loaded.

    Asked of the files as they lie in the registry, with the use case that the version is served
    with; and, unless ``as_written`` is False, with the one that is written now. To go back to a
    version is no new verdict on it: it answers by its own prompt and labels.

    Raises:
        DigestMismatch: no night of this home measured it; base, adapter, prompt, labels or a
            decisive library differ; or a file of it was added, changed or removed.
        DataError: the version was not registered by a night, or the base is not complete.
    """
    what = f"{use_case.name} version {version.version}"
    measured_as = trusted_versions.require_measured(home, version, so=_NO_CHAMPION)
    config = version.served_config()
    if config["digest"] != version.digest:
        raise DigestMismatch(
            f"{what} was registered as {version.digest[:12]}, but its files would be served as "
            f"{config['digest'][:12]}. It may not be champion."
        )
    served = UseCase.model_validate(config["use_case"])
    for case in (use_case, served) if as_written else (served,):
        found = fingerprint.of(
            case, artifact.base_folder(case, home, version.adapter_dir), version.adapter_dir
        )
        fingerprint.require_same(version.measured, found, what=what, so=_NO_CHAMPION)
    require_files(measured_as, version.folder, what=what, so=_NO_CHAMPION)


def check_served(
    use_case: UseCase,
    home: Home,
    version: Version,
    expected: Mapping[str, Mapping[str, float]],
    *,
    patience: Patience = NIGHT,
) -> None:
    """As `verify_served`, outside of a task; a GPU worker is waited for with ``patience``."""
    if not expected:
        raise ServedDiffers(
            f"{use_case.name} version {version.version} has no measured answers to compare with; "
            "it is not promoted."
        )
    answers = _answers(use_case, home, version, list(expected), patience)
    rows = list(expected.values())
    differs = measured_answers.difference(use_case, rows, answers)
    if differs:
        raise ServedDiffers(
            f"{use_case.name} version {version.version}, loaded as it is served, {differs.found}. "
            "It is not promoted; the champion is unchanged.",
            rows=len(expected),
            wrong=differs.wrong,
        )
    log.info(
        "version %s answers %d holdout rows as measured, loaded as it is served",
        version.version,
        len(expected),
    )


def _answers(
    use_case: UseCase, home: Home, version: Version, texts: Sequence[str], patience: Patience
) -> list[dict[str, float]]:
    """What a version answers as it is served: here, or where it was scored.

    A base that needs the pool may not fit this machine. The worker is given the files as they lie
    in the registry, is asked by the use case that they are served with, and refuses where its base
    or libraries are others.
    """
    from flywheel.modeling import model_loading

    if scored_on_pool(use_case, version.adapter_dir):
        check_measured(use_case, home, version, as_written=False)
        served = version.served_use_case()
        rows = {hashlib.sha256(text.encode()).hexdigest(): text for text in texts}
        scored = score_on_pool(
            served, home, version.adapter_dir, rows, digest=version.digest, patience=patience
        )
        return [scored.answers[row] for row in rows]
    try:
        answers = version.answer_as_served(texts)
    finally:
        model_loading.release()
    return [one["probabilities"] for one in answers]


@task(retries=3, retry_delay_seconds=5, retry_condition_fn=retry_if_transient)
def verify_served(
    use_case: UseCase, home: Home, version: Version, expected: Mapping[str, Mapping[str, float]]
) -> None:
    """Load ``version`` as it is served and compare its answers with ``expected``, text by text.

    With ``training.where: pool`` the GPU worker loads it, where it has a base.

    Raises:
        ScoringFailed: every attempt on the pool failed.
        PoolUnusable: no worker of the pool began it in time.
        ServedDiffers: labels or probabilities differ by more than rounding explains
            (`flywheel.tracking.measured_answers`), or there is nothing to compare with.
        DigestMismatch: it refuses to answer.
    """
    check_served(use_case, home, version, expected)
