"""The cells of a benchmark as MLflow runs, one each, with the page beside the newest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException

from flywheel.bench.results import Result
from flywheel.config import Home
from flywheel.errors import RegistryUnavailable

_TOLD = ("entrant", "method", "base", "rows", "seed", "setting")


def log_runs(home: Home, grid: str, found: Sequence[Result], page: Path) -> None:
    """Log each cell once, under experiment ``bench-GRID``.

    Raises:
        RegistryUnavailable: MLflow failed; results and page are on the disk all the same.
    """
    mlflow.set_tracking_uri(home.mlflow_uri)
    try:
        experiment = _experiment(home, f"bench-{grid}")
        known = {
            run.info.run_name for run in mlflow.search_runs([experiment], output_format="list")
        }
        for result in found:
            name = f"{result.entrant}, {result.rows} labels, draw {result.seed}"
            if name in known:
                continue
            facts = asdict(result)
            with mlflow.start_run(experiment_id=experiment, run_name=name):
                mlflow.log_params({key: facts.pop(key) for key in _TOLD})
                mlflow.log_metrics({k: v for k, v in facts.items() if v is not None})
        if found:
            with mlflow.start_run(experiment_id=experiment, run_name="report"):
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
