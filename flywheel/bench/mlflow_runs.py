"""The cells of a benchmark as MLflow runs, one each, with the page beside the newest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException

from flywheel.bench.results import Result
from flywheel.config import Home
from flywheel.errors import RegistryUnavailable
from flywheel.tracking.relocation import follow_move

RESULT = "result"
"""Tag that says which result a run shows, by its hash; or that it holds the page."""
REPORT = "report"
_TOLD = ("entrant", "method", "base", "rows", "seed", "setting")


def log_runs(home: Home, grid: str, found: Sequence[Result], page: Path) -> None:
    """Log each result once, under experiment ``bench-GRID``, and the page in one run of its own.

    Raises:
        RegistryUnavailable: MLflow failed; results and page are on the disk all the same.
    """
    follow_move(home)
    mlflow.set_tracking_uri(home.mlflow_uri)
    try:
        experiment = _experiment(home, f"bench-{grid}")
        runs: Any = mlflow.search_runs([experiment], output_format="list")
        known = {run.data.tags[RESULT]: run.info.run_id for run in runs if RESULT in run.data.tags}
        for result in found:
            facts = asdict(result)
            if facts["rouge_l"] is None:
                # results of before that measure have the tag that they had
                del facts["rouge_l"]
            content = json.dumps(facts, sort_keys=True).encode()
            tags = {RESULT: hashlib.sha256(content).hexdigest()}
            if tags[RESULT] in known:
                continue
            name = f"{result.entrant}, {result.rows} labels, draw {result.seed}"
            with mlflow.start_run(experiment_id=experiment, run_name=name, tags=tags):
                mlflow.log_params({key: facts.pop(key) for key in _TOLD})
                mlflow.log_metrics({k: v for k, v in facts.items() if v is not None})
        if found:
            with mlflow.start_run(
                run_id=known.get(REPORT),
                experiment_id=experiment,
                run_name=REPORT,
                tags={RESULT: REPORT},
            ):
                mlflow.log_artifact(str(page))
    except MlflowException as error:
        raise RegistryUnavailable(f"MLflow took no runs of {grid}: {error}") from error


def _experiment(home: Home, name: str) -> str:
    found = mlflow.get_experiment_by_name(name)
    if found:
        return str(found.experiment_id)
    return str(
        mlflow.create_experiment(name, artifact_location=(home.mlflow_artifacts / name).as_uri())
    )
