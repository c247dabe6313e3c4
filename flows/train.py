"""The training step as a deployment of its own, for a work pool with GPUs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from prefect import flow

from flywheel.config import Home, UseCase
from flywheel.home.environment import prepare
from flywheel.records import Snapshot
from flywheel.training.warm_start import FROM_BASE, Start
from tasks.train import train_inline


@flow(name="train")
def train(
    use_case: dict[str, Any], snapshot_id: str, start: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Train on one snapshot where this worker runs; the adapter lands in the shared home.

    ``start`` is a `flywheel.training.warm_start.Start`, for one that goes on from a version.
    """
    home = Home()
    prepare(home)
    begin = Start(**{**start, "snapshots": tuple(start["snapshots"])}) if start else FROM_BASE
    trained = train_inline(
        UseCase.model_validate(use_case), home, Snapshot(snapshot_id, 0, 0, 0), begin
    )
    return asdict(trained)
