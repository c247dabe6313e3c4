"""Look every few minutes whether a night should start before its time, and start it."""

from __future__ import annotations

import logging
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from prefect import flow
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed

from flows.run_page import tag_run
from flywheel.config import DEFAULT_USE_CASE, Home, load_use_case
from flywheel.errors import ConfigError
from flywheel.home.environment import open_home, prepare
from flywheel.store.waiting import POLL_WAIT_S, patient
from tasks.watch import Early, reason_to_start

log = logging.getLogger(__name__)

NIGHTS = "flywheel/retrain"


@flow(name="watch", flow_run_name="watch {use_case}", log_prints=False)
def watch(use_case: str = DEFAULT_USE_CASE) -> Any:
    """Start a night of ``use_case`` early where there is a reason to; each reason starts one once.

    A night that is running already is left alone, and what was found is looked at again later.
    """
    home = Home()
    prepare(home)
    open_home(home)
    case = load_use_case(use_case)
    tag_run(case)
    with patient(POLL_WAIT_S, who=f"the watch of {case.name}"):
        early = reason_to_start(case, home, at=datetime.now(UTC))
    if early is None:
        return Completed(name="Nothing to do", data=None)
    if not start(case.name, early):
        return Completed(name="Started before", message=early.detail, data=None)
    log.info("started a night of %s: %s", case.name, early.detail)
    return Completed(name="Started", message=early.detail, data=asdict(early))


def start(name: str, early: Early) -> bool:
    """Have a worker live a night now; False where the same reason has started one before.

    Raises:
        ConfigError: the use case is not on the schedule.
    """
    nights = NIGHTS if name == DEFAULT_USE_CASE else f"{NIGHTS}-{name}"
    begun = datetime.now(UTC)
    try:
        run: Any = run_deployment(
            nights,
            timeout=0,
            as_subflow=False,
            idempotency_key=f"early: {early.why} {early.once}",
            tags=["early", early.why.replace("_", " ")],
        )
    except ObjectNotFound as error:
        raise ConfigError(
            f"Prefect knows no deployment {nights}, so that no night was started early. Run "
            f"flywheel schedule -u {name} --at HH:MM."
        ) from error
    return bool(run.created >= begun)
