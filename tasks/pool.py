"""Run a deployment in the GPU work pool and wait for its end, found again after a kill."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

log = logging.getLogger(__name__)

ATTEMPTS = 3


def run_in_pool(
    deployment: str,
    parameters: Mapping[str, Any],
    *,
    key: str,
    is_done: Callable[[], bool] = lambda: True,
) -> bool:
    """Whether a run of ``deployment`` completed and left what ``is_done`` looks for.

    Up to `ATTEMPTS` runs are made. The same ``key`` finds a run that is under way. A key names one
    run for ever, so runs that failed before this call are stepped over and do not count.
    """
    from prefect.deployments import run_deployment

    begun, failures = datetime.now(UTC), 0
    for attempt in itertools.count():
        run: Any = run_deployment(
            deployment,
            parameters=dict(parameters),
            timeout=None,
            poll_interval=2,
            idempotency_key=f"{key}-{attempt}",
        )
        if run.state.is_completed() and is_done():
            return True
        log.warning("attempt %d on %s ended %s", attempt + 1, deployment, run.state.name)
        failures += run.created >= begun
        if failures == ATTEMPTS:
            break
    return False
