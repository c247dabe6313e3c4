"""A replay as one MLflow run: accuracy by night as curves, the figures, and the page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

from flywheel.config import Home
from flywheel.errors import RegistryUnavailable
from flywheel.tracking.relocation import follow_move

EXPERIMENT = "replay"
KEY = "replay"
"""Tag that says which replay a run shows."""
_FIGURES = ("wrong_promotion_rate", "behind_own_best", "labels", "cpu_minutes", "attack_success")


def log_run(home: Home, key: str, facts: Mapping[str, Any], page: Path) -> None:
    """Log what a replay came to so far; the same replay has one run.

    Raises:
        RegistryUnavailable: MLflow failed; results and page are on the disk all the same.
    """
    follow_move(home)
    mlflow.set_tracking_uri(home.mlflow_uri)
    try:
        experiment = _experiment(home)
        runs: Any = mlflow.search_runs(
            [experiment], filter_string=f"tags.{KEY} = '{key}'", output_format="list"
        )
        known = runs[0].info.run_id if runs else None
        with mlflow.start_run(
            run_id=known, experiment_id=experiment, run_name=f"replay {key}", tags={KEY: key}
        ) as run:
            metrics = [one for policy in facts["policies"] for one in _metrics(policy)]
            mlflow.MlflowClient().log_batch(run.info.run_id, metrics=metrics)
            mlflow.log_artifact(str(page))
    except MlflowException as error:
        raise RegistryUnavailable(f"MLflow took no run of the replay: {error}") from error


def _metrics(policy: Mapping[str, Any]) -> list[Metric]:
    name = policy["policy"]
    by_night = [
        Metric(f"{name}/accuracy", value, 0, night)
        for night, value in enumerate(policy["accuracy_by_night"])
        if value is not None
    ]
    figures = {figure: policy[figure] for figure in _FIGURES}
    return by_night + [
        Metric(f"{name}/{figure}", float(value), 0, 0)
        for figure, value in figures.items()
        if value is not None
    ]


def _experiment(home: Home) -> str:
    found = mlflow.get_experiment_by_name(EXPERIMENT)
    if found:
        return str(found.experiment_id)
    place = (home.mlflow_artifacts / EXPERIMENT).as_uri()
    return str(mlflow.create_experiment(EXPERIMENT, artifact_location=place))
