"""Run a deployment in the GPU work pool and wait for its end, found again after a kill.

A run that no worker takes is withdrawn after a limited time: whoever waits holds a lock.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flywheel.errors import PoolUnusable

log = logging.getLogger(__name__)

ATTEMPTS = 3
_POLL_S = 2.0


@dataclass(frozen=True)
class Patience:
    """How long a run may wait to begin.

    ``worker_s`` seconds pass before a pool without a worker is given up. ``in_line``: a run waits
    behind others for as long as the pool has a worker; else it is given up then, too.
    """

    worker_s: float
    in_line: bool


NIGHT = Patience(worker_s=600.0, in_line=True)
"""A GPU machine that starts on demand is there after minutes, and nobody waits for a night."""
DECISION = Patience(worker_s=30.0, in_line=False)
"""A worker asks for runs every 10 s. Decisions hold a lock that `flywheel rollback` waits for,
`tasks.lock.CHAMPION_WAIT_S` at most; the next settling asks again."""


def run_in_pool(
    deployment: str,
    parameters: Mapping[str, Any],
    *,
    key: str,
    is_done: Callable[[], bool] = lambda: True,
    patience: Patience = NIGHT,
) -> bool:
    """Whether a run of ``deployment`` completed and left what ``is_done`` looks for.

    Up to `ATTEMPTS` runs are made. The same ``key`` finds a run that is under way. A key names one
    run for ever, so runs that failed before this call are stepped over and do not count.

    Raises:
        PoolUnusable: no worker began the run in time, or there is no such deployment.
    """
    begun, failures = datetime.now(UTC), 0
    for attempt in itertools.count():
        run = _ended(_started(deployment, parameters, f"{key}-{attempt}", patience), patience)
        if run.state.is_completed() and is_done():
            return True
        log.warning("attempt %d on %s ended %s", attempt + 1, deployment, run.state.name)
        failures += run.created >= begun
        if failures == ATTEMPTS:
            break
    return False


def _started(deployment: str, parameters: Mapping[str, Any], key: str, patience: Patience) -> Any:
    """The run of ``key``, after its end or after ``patience`` for a worker."""
    from prefect.deployments import run_deployment
    from prefect.exceptions import ObjectNotFound

    try:
        return run_deployment(
            deployment,
            parameters=dict(parameters),
            timeout=patience.worker_s,
            poll_interval=_POLL_S,
            idempotency_key=key,
        )
    except ObjectNotFound as error:
        raise PoolUnusable(
            f"Prefect knows no deployment {deployment}, which training.where: pool needs. Name the "
            "server in PREFECT_API_URL (make server starts one), run make deploy, start a worker "
            "(make worker POOL=gpu), then run this again; the champion is unchanged.",
            deployment=deployment,
        ) from error


def _ended(run: Any, patience: Patience) -> Any:
    """The run at its end; one that has not begun waits only while ``patience`` allows it."""
    if run.state.is_final():
        return run
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        while not run.state.is_final():
            if run.state.is_scheduled() or run.state.is_pending():
                _require_worker(client, run, patience)
            time.sleep(_POLL_S)
            run = client.read_flow_run(run.id)
    return run


def _require_worker(client: Any, run: Any, patience: Patience) -> None:
    """Withdraw a run that no worker will begin, so that none begins it after nobody waits."""
    pool = run.work_pool_name
    # of pools that need no worker, too, Prefect says that they are ready
    status = str(client.read_work_pool(pool).status.value)
    if status == "READY" and patience.in_line:
        return
    client.delete_flow_run(run.id)
    raise PoolUnusable(
        f"{_WHY[status].format(pool=pool, seconds=patience.worker_s)}, then run this again. The "
        "run was withdrawn and the champion is unchanged.",
        pool=pool,
        status=status,
    )


_WHY = {
    "READY": "Every worker of the work pool {pool} was busy for {seconds:g} s: wait for one, or "
    "start a further one (make worker POOL={pool})",
    "NOT_READY": "No worker of the work pool {pool} took the run within {seconds:g} s: start one "
    "(make worker POOL={pool})",
    "PAUSED": "The work pool {pool} is paused: resume it (prefect work-pool resume {pool})",
}
