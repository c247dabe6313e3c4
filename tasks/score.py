"""Score texts with a contender: here, or on the GPU pool."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from prefect import task

from flywheel import progress
from flywheel.catalog import memory
from flywheel.config import Home, UseCase
from flywheel.errors import ScoringFailed
from flywheel.modeling import artifact, fingerprint, scoring_jobs
from flywheel.modeling.scoring_jobs import Scored
from tasks.coordination.gpu import turn_of
from tasks.coordination.work_pool import ATTEMPTS, NIGHT, Patience, run_in_pool

POOL_DEPLOYMENT = "score/gpu-score"


def score(
    use_case: UseCase,
    home: Home,
    adapter: Path | None,
    texts: Mapping[str, str],
    *,
    digest: str,
    name: str,
) -> Scored:
    """What a contender answers to each text, by its id.

    With ``training.where: pool`` and a base they are asked for on the GPU worker; what needs no
    base is asked here.

    Raises:
        ScoringFailed: every attempt on the pool failed.
        PoolUnusable: no worker of the pool began it in time.
    """
    if scored_on_pool(use_case, adapter):
        return score_on_pool(use_case, home, adapter, texts, digest=digest)
    with turn_of(use_case, home):
        return _score_here(use_case, home, adapter, texts, name=name)


def scored_on_pool(use_case: UseCase, adapter: Path | None) -> bool:
    """Whether a contender is asked on the GPU worker; what needs no base is not."""
    return use_case.training.where == "pool" and artifact.read(use_case, adapter).base is not None


def score_on_pool(
    use_case: UseCase,
    home: Home,
    adapter: Path | None,
    texts: Mapping[str, str],
    *,
    digest: str,
    patience: Patience = NIGHT,
) -> Scored:
    """As `score`, by deployment `POOL_DEPLOYMENT`; a run that is under way is found again.

    Raises:
        ScoringFailed: every attempt failed.
        PoolUnusable: no worker began it in time.
    """
    asked = hashlib.sha256(json.dumps([digest, sorted(texts)]).encode()).hexdigest()
    job = f"{use_case.name}/{asked[:32]}"
    folder = home.scoring / job
    scoring_jobs.write(folder, texts, adapter, _fingerprint(use_case, home, adapter))
    try:
        # golden texts are the company's, and are not what is asked here
        case = use_case.model_dump(mode="json", exclude={"golden"})
        done = scoring_jobs.is_finished(folder) or run_in_pool(
            POOL_DEPLOYMENT,
            {"use_case": case, "job": job},
            key=f"score-{job}",
            is_done=lambda: scoring_jobs.is_finished(folder),
            patience=patience,
            home=home,
        )
        if not done:
            raise ScoringFailed(
                f"{ATTEMPTS} runs of {POOL_DEPLOYMENT} left no answers; {len(texts)} rows were "
                "not scored, nothing was decided and the champion is unchanged. The runs' logs in "
                "Prefect say why; the workers of both pools must share FLYWHEEL_HOME, and have the "
                "same base and libraries."
            )
        return scoring_jobs.answers(folder)
    finally:
        shutil.rmtree(folder)


@task(timeout_seconds=6 * 3_600)
def score_job(use_case: UseCase, home: Home, job: str) -> int:
    """Answer a job's texts on this machine and leave the answers beside them; how many.

    Raises:
        DigestMismatch: this worker's base or libraries are others than those of who asks.
    """
    folder = home.scoring / job
    texts, adapter = scoring_jobs.texts(folder), scoring_jobs.adapter(folder)
    fingerprint.require_same(
        scoring_jobs.expected(folder),
        _fingerprint(use_case, home, adapter),
        what=f"What this worker would answer {use_case.name} with",
        so="Nothing was scored. Install the same libraries and base on the workers of both pools.",
    )
    scored = _score_here(use_case, home, adapter, texts, name="a contender")
    scoring_jobs.finish(folder, scored)
    return len(scored.answers)


def _fingerprint(use_case: UseCase, home: Home, adapter: Path | None) -> fingerprint.Fingerprint:
    return fingerprint.of(use_case, artifact.base_folder(use_case, home, adapter), adapter)


def _score_here(
    use_case: UseCase, home: Home, adapter: Path | None, texts: Mapping[str, str], *, name: str
) -> Scored:
    from flywheel.modeling import methods
    from flywheel.modeling.compiled.runtime import runtime_of

    answerer = methods.load(use_case, home, adapter)
    with progress.bar(f"scoring {name} on {len(texts)} rows") as step:
        answers, latency_ms = answerer.answer(list(texts.values()), progress=step)
    found = dict(zip(texts, answers, strict=True))
    return Scored(found, latency_ms, memory.peak_mb(), runtime_of(answerer))
