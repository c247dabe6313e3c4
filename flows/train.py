"""The training step as a deployment of its own, for a work pool with GPUs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from prefect import flow

from flywheel.config import Home, UseCase
from flywheel.environment import prepare
from flywheel.records import Snapshot
from tasks.train import train_inline


@flow(name="train")
def train(use_case: dict[str, Any], snapshot_id: str) -> dict[str, Any]:
    """Train on one snapshot where this worker runs; the adapter lands in the shared home."""
    home = Home()
    prepare(home)
    trained = train_inline(UseCase.model_validate(use_case), home, Snapshot(snapshot_id, 0, 0, 0))
    return asdict(trained)
