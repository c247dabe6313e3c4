"""Carry out what people decided in MLflow between nights."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from prefect import flow

from flywheel.config import Home, load_use_case
from flywheel.home.environment import open_home, prepare
from flywheel.store.waiting import POLL_WAIT_S, patient
from tasks.champion.reconcile import settle_if_free


@flow(name="settle", flow_run_name="settle {use_case}", log_prints=False)
def settle(use_case: str = "product-reviews") -> dict[str, Any] | None:
    """Approvals, rejections and moved aliases become facts; None while a night is running."""
    home = Home()
    prepare(home)
    open_home(home)
    with patient(POLL_WAIT_S, who=f"the poll of {use_case}"):
        settled = settle_if_free(load_use_case(use_case), home, at=datetime.now(UTC))
    return None if settled is None else asdict(settled)
