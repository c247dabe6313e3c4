"""The scoring step as a deployment of its own, for a work pool with GPUs."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flywheel.config import Home, UseCase
from flywheel.home.environment import prepare
from tasks.score import score_job


@flow(name="score")
def score(use_case: dict[str, Any], job: str) -> int:
    """Answer the texts of a `flywheel.modeling.scoring_jobs` job where this worker runs; how many.

    ``job`` is a folder's name below `Home.scoring` of the shared home.
    """
    home = Home()
    prepare(home)
    return score_job(UseCase.model_validate(use_case), home, job)
