"""What an operator sees of a night in Prefect's list of runs: its name, its tags, how it ended."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import httpx
from prefect import runtime
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectException
from prefect.states import Completed

from flywheel.config import DEFAULT_USE_CASE, UseCase
from flywheel.records import Outcome

log = logging.getLogger(__name__)


def end_name(outcome: str) -> str:
    """How Prefect's page calls the end of a night."""
    return outcome.replace("_", " ").capitalize()


END_NAMES = tuple(end_name(one) for one in get_args(Outcome) if one != "failed")
"""Names of completed nights, by which Prefect also names the events of their ends."""


def run_name() -> str:
    """Use case and time of the night of this run: ``support 2026-11-30 02:30``."""
    given: Mapping[str, Any] = runtime.flow_run.parameters or {}
    at = given.get("as_of") or datetime.now(UTC)
    return f"{_name(given.get('use_case', DEFAULT_USE_CASE))} {at:%Y-%m-%d %H:%M}"


def _name(use_case: Any) -> str:
    if isinstance(use_case, UseCase):
        return use_case.name
    return Path(str(use_case)).stem


def tag_run(use_case: UseCase) -> None:
    """Let runs be found by their use case; what Prefect does not take costs no night."""
    identity = runtime.flow_run.id
    if identity is None:
        return
    tags = {*runtime.flow_run.tags, use_case.name}
    try:
        with get_client(sync_client=True) as client:
            client.update_flow_run(identity, tags=sorted(tags))
    except (httpx.HTTPError, PrefectException, OSError) as error:
        log.warning("Prefect did not take the run's tags (%s)", type(error).__name__)


def ended(night: dict[str, Any]) -> Any:
    """The end of a flow that returns ``night``: completed, under the name of its outcome.

    Who calls the flow gets the night itself.
    """
    return Completed(name=end_name(night["outcome"]), message=night["use_case"], data=night)
