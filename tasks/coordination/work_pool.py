"""Run a deployment in the GPU work pool and wait for its end, found again after a kill.

A run that no worker takes is withdrawn after a limited time: whoever waits holds a lock.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Any

from flywheel.config import Home
from flywheel.errors import PoolUnusable
from flywheel.files.waiting_line import FRESH_S, Place
from flywheel.modeling.durations import in_words
from flywheel.store.waiting import who_waits

log = logging.getLogger(__name__)

ATTEMPTS = 3
_POLL_S = 2.0
_TOLD_S = 600.0
"""So often a night that waits in line says so."""


@dataclass(frozen=True)
class Patience:
    """How long a run may wait to begin.

    ``worker_s`` seconds pass before a pool without a worker is given up; a worker that goes away
    meanwhile has as long to come back. A run waits for ``line_s`` seconds in all behind others of a
    pool with a worker, where that is longer.
    """

    worker_s: float
    line_s: float


NIGHT = Patience(worker_s=600.0, line_s=6 * 3_600.0)
"""A GPU machine that starts on demand is there after minutes, and nobody waits for a night. In line
it may be behind a training of another use case, which ends itself after 6 hours."""
DECISION = Patience(worker_s=30.0, line_s=0.0)
"""A worker asks for runs every 10 s. Decisions hold a lock that `flywheel rollback` waits for,
`tasks.coordination.locks.CHAMPION_WAIT_S` at most; the next settling asks again."""


def run_in_pool(
    deployment: str,
    parameters: Mapping[str, Any],
    *,
    key: str,
    is_done: Callable[[], bool] = lambda: True,
    once: bool = False,
    patience: Patience = NIGHT,
    home: Home | None = None,
) -> bool:
    """Whether a run of ``deployment`` completed and left what ``is_done`` looks for.

    Up to `ATTEMPTS` runs are made. The same ``key`` finds a run that is under way. A key names one
    run for ever, so runs of before this call that failed, or whose result is gone, are stepped over
    and do not count. ``once``: a run of this call that completed is not made again, whatever it
    left. In ``home`` others see that it waits (`flywheel ps`).

    Raises:
        PoolUnusable: no worker began the run in time, or there is no such deployment.
    """
    begun, failures = datetime.now(UTC), 0
    for attempt in itertools.count():
        with _in_line(home, deployment):
            run = _ended(_started(deployment, parameters, f"{key}-{attempt}", patience), patience)
        fresh = run.created >= begun
        if run.state.is_completed() and (is_done() or (once and fresh)):
            return True
        log.warning("attempt %d on %s ended %s", attempt + 1, deployment, run.state.name)
        failures += fresh
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


@contextmanager
def _in_line(home: Home | None, deployment: str) -> Iterator[None]:
    """Let others see who waits; in which order the runs are begun is the pool's to say."""
    if home is None:
        yield
        return
    place, over = Place(home.root, who=who_waits(), what=f"a run of {deployment}"), Event()

    def stay() -> None:
        while not over.wait(FRESH_S / 2):
            place.ahead()

    thread = Thread(target=stay, name="in line", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        place.leave()


def _ended(run: Any, patience: Patience) -> Any:
    """The run at its end; one that has not begun waits only while ``patience`` allows it."""
    if run.state.is_final():
        return run
    from prefect.client.orchestration import get_client

    # `_started` waited for so long
    asked = time.monotonic() - patience.worker_s
    seen = told = -math.inf
    with get_client(sync_client=True) as client:
        while not run.state.is_final():
            if run.state.is_scheduled() or run.state.is_pending():
                now, status = time.monotonic(), _status(client, run)
                seen = now if status == _READY else seen
                if _is_over(status, now - asked, now - seen, patience):
                    raise _withdrawn(client, run, status, now - asked)
                if now - told >= _TOLD_S:
                    told = now
                    log.info(_WAITS, run.work_pool_name, *_shown(now - asked, patience))
            time.sleep(_POLL_S)
            run = client.read_flow_run(run.id)
    return run


def _status(client: Any, run: Any) -> str:
    """What Prefect says of the run's pool; also of one that needs no worker that it is ready."""
    return str(client.read_work_pool(run.work_pool_name).status.value)


def _is_over(status: str, waited: float, unseen: float, patience: Patience) -> bool:
    """Whether a run has waited for too long, in all or since a worker was seen, in seconds."""
    if status == _READY:
        return waited >= patience.line_s
    return unseen >= patience.worker_s


def _shown(waited: float, patience: Patience) -> tuple[str, str]:
    return in_words(waited), in_words(patience.line_s)


def _withdrawn(client: Any, run: Any, status: str, waited: float) -> PoolUnusable:
    """Withdraw a run that no worker will begin, so that none begins it after nobody waits."""
    client.delete_flow_run(run.id)
    pool = run.work_pool_name
    return PoolUnusable(
        f"{_WHY[status].format(pool=pool, waited=in_words(waited))}, then run this again. The "
        "run was withdrawn and the champion is unchanged.",
        pool=pool,
        status=status,
    )


_READY = "READY"
_WAITS = (
    "the worker of the work pool %s is busy; the run has waited for %s and is given up after %s "
    "(a further worker ends the wait)"
)
_WHY = {
    "READY": "Every worker of the work pool {pool} was busy for {waited}: wait for one, or "
    "start a further one (make worker POOL={pool})",
    "NOT_READY": "No worker of the work pool {pool} took the run within {waited}: start one "
    "(make worker POOL={pool})",
    "PAUSED": "The work pool {pool} is paused: resume it (prefect work-pool resume {pool})",
}
