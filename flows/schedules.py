"""The deployments by which Prefect's server lives the nights of each use case.

The default use case has ``flywheel/retrain`` and ``settle/poll``, a further one
``flywheel/retrain-NAME`` and ``settle/poll-NAME``; one that names what starts a night early has
``watch/inbox`` or ``watch/inbox-NAME``, too. Each has its own concurrency limit, so that no use
case waits for another; polls begin at different minutes, as far as there are enough.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.utilities.callables import parameter_schema

from flows.reconcile import settle
from flows.retrain import flywheel
from flows.watch import NIGHTS as _NIGHTS
from flows.watch import watch
from flywheel.access.prefect_password import server_url
from flywheel.config import DEFAULT_USE_CASE, Home
from flywheel.errors import ConfigError, OrchestratorUnavailable
from flywheel.home import schedules as kept_schedules
from flywheel.home.schedules import Nightly
from flywheel.urls import without_secrets

POOL = "cpu"
EVERY = 5
"""Minutes between two polls of one use case."""
_POLLS, _WATCHES = "settle/poll", "watch/inbox"
_LIMIT = ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)


@dataclass(frozen=True)
class Scheduled:
    """The nights of a use case on a server; ``next_run`` None: none comes by itself.

    ``watched`` is every how many minutes is looked whether one should start early; None: never.
    """

    use_case: str
    deployment: str
    cron: str | None
    zone: str | None
    next_run: datetime | None
    watched: int | None = None


@contextmanager
def server(home: Home) -> Iterator[SyncPrefectClient]:
    """A client of the server that is set, else of the home's own.

    Raises:
        OrchestratorUnavailable: it does not answer, refuses this process, or answers with an error.
    """
    url = PREFECT_API_URL.value() or server_url(home, dict(os.environ))
    shown = without_secrets(str(url))
    try:
        with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
            yield client
    except httpx.HTTPStatusError as error:
        if error.response.status_code not in (401, 403):
            raise OrchestratorUnavailable(
                f"Prefect's server at {shown} answered {error.response.status_code}. Look at what "
                "it prints, then run this again."
            ) from error
        raise OrchestratorUnavailable(
            f"Prefect's server at {shown} refuses the credentials of this process. Set "
            "PREFECT_API_AUTH_STRING to that server's string, or restart the server for this home "
            "(make up)."
        ) from error
    except (httpx.HTTPError, PrefectException) as error:
        raise OrchestratorUnavailable(
            f"Prefect's server at {shown}, which keeps the schedules, does not answer "
            f"({type(error).__name__}). Start it (make up, or make server), then run this again."
        ) from error


def schedule(client: SyncPrefectClient, name: str, nightly: Nightly) -> Scheduled:
    """Make, or change, the deployments of a use case.

    Raises:
        ConfigError: the server has no work pool for them.
    """
    nights, polls = _deployment(_NIGHTS, name), _deployment(_POLLS, name)
    minute = _minute(client, polls)
    try:
        identity = _deploy(
            client, nights, nightly, nightly.cron, f"One night of the use case {name}."
        )
        _deploy(
            client,
            polls,
            nightly,
            "*/5 * * * *" if minute == 0 else f"{minute}-59/{EVERY} * * * *",
            f"Carry out what people decided in MLflow about {name}.",
        )
        _watch(client, name, nightly, minute)
    except ObjectNotFound as error:
        raise ConfigError(
            f"Prefect's server has no work pool {POOL}, so that {name} was not scheduled. Run make "
            "deploy once, then this again."
        ) from error
    _make_runs(client, identity)
    return _scheduled(client, client.read_deployment(identity), nights)


def unschedule(client: SyncPrefectClient, name: str) -> bool:
    """Let no night of a use case come by itself; whether one did.

    The deployments of the default use case stay, to be run by hand.
    """
    found = [_read(client, _deployment(kind, name)) for kind in (_NIGHTS, _POLLS, _WATCHES)]
    for one in found:
        if one is None:
            continue
        if name == DEFAULT_USE_CASE:
            for each in one.schedules:
                client.delete_deployment_schedule(one.id, each.id)
        else:
            client.delete_deployment(one.id)
    return any(one is not None and one.schedules for one in found)


def scheduled(client: SyncPrefectClient) -> list[Scheduled]:
    """The nights of every use case that has a deployment, by name."""
    found = [
        _scheduled(client, one, full)
        for full, one in _all(client).items()
        if full == _NIGHTS or full.startswith(f"{_NIGHTS}-")
    ]
    return sorted(found, key=lambda one: one.use_case)


def deploy_kept(home: Home) -> list[Scheduled]:
    """Give a server what the home keeps: what ``make deploy`` ends with."""
    with server(home) as client:
        for name, nightly in kept_schedules.kept(home).items():
            if nightly is None:
                unschedule(client, name)
            else:
                schedule(client, name, nightly)
        return scheduled(client)


def out_of_date(client: SyncPrefectClient) -> list[str]:
    """Deployments of ours whose flow this version of flywheel does not have, with the entrypoint.

    Their runs crash before the flow begins, so that no page tells of them.
    """
    return [
        f"{full} ({one.entrypoint})"
        for full, one in _all(client).items()
        if one.entrypoint and one.entrypoint.startswith("flows.") and not _is_here(one.entrypoint)
    ]


def _is_here(entrypoint: str) -> bool:
    module, _, function = entrypoint.rpartition(".")
    try:
        if importlib.util.find_spec(module) is None:
            return False
    except ModuleNotFoundError:
        return False
    return hasattr(importlib.import_module(module), function)


# ---- Deployments


def _deployment(kind: str, name: str) -> str:
    return kind if name == DEFAULT_USE_CASE else f"{kind}-{name}"


def _deploy(
    client: SyncPrefectClient, full: str, nightly: Nightly, cron: str, description: str
) -> Any:
    flow_name, _, name = full.partition("/")
    flow: Any = {"flywheel": flywheel, "settle": settle, "watch": watch}[flow_name]
    pull = {"directory": os.environ.get("FLYWHEEL_ROOT", str(Path.cwd()))}
    return client.create_deployment(
        client.create_flow_from_name(flow_name),
        name,
        description=description,
        parameters={"use_case": nightly.use_case},
        schedules=[
            DeploymentScheduleCreate(schedule=CronSchedule(cron=cron, timezone=nightly.zone))
        ],
        concurrency_limit=1,
        concurrency_options=_LIMIT,
        work_pool_name=POOL,
        entrypoint=f"{flow.fn.__module__}.{flow.fn.__name__}",
        parameter_openapi_schema=parameter_schema(flow).model_dump_for_openapi(),
        enforce_parameter_schema=True,
        pull_steps=[{"prefect.deployments.steps.set_working_directory": pull}],
    )


def _watch(client: SyncPrefectClient, name: str, nightly: Nightly, minute: int) -> None:
    """Let the use case be watched as its schedule says, or no longer."""
    full, every = _deployment(_WATCHES, name), nightly.watch_minutes
    if every is None:
        if (there := _read(client, full)) is not None:
            client.delete_deployment(there.id)
        return
    cron = f"{minute % every}-59/{every} * * * *"
    _deploy(client, full, nightly, cron, f"Start a night of {name} early where there is a reason.")


def _make_runs(client: SyncPrefectClient, identity: Any) -> None:
    """Let the runs of the next days be there at once, and not with the scheduler's next round."""
    client.request("POST", "/deployments/{id}/schedule", path_params={"id": identity}, json={})


def _minute(client: SyncPrefectClient, polls: str) -> int:
    """The minute of a poll: what it has already, else one that the fewest others have."""
    taken = {
        full: _first_minute(one)
        for full, one in _all(client).items()
        if full == _POLLS or full.startswith(f"{_POLLS}-")
    }
    if (own := taken.get(polls)) is not None:
        return own
    if polls == _POLLS:
        return 0
    counts = Counter(minute for minute in taken.values() if minute is not None)
    counts[0] += _POLLS not in taken
    return min(range(EVERY), key=lambda minute: (counts[minute], minute))


def _first_minute(one: DeploymentResponse) -> int | None:
    cron = _cron(one)
    first = cron[0].partition(" ")[0].partition("-")[0] if cron else None
    return int(first) if first and first.isdigit() else (0 if first else None)


def _cron(one: DeploymentResponse) -> tuple[str, str] | None:
    """The cron string and the time zone of what is active."""
    for each in one.schedules:
        if each.active and isinstance(each.schedule, CronSchedule):
            return each.schedule.cron, each.schedule.timezone or "UTC"
    return None


def _scheduled(client: SyncPrefectClient, one: DeploymentResponse, full: str) -> Scheduled:
    cron = None if one.paused else _cron(one)
    runs = client.get_scheduled_flow_runs_for_deployments([one.id]) if cron else []
    times = sorted(run.expected_start_time for run in runs if run.expected_start_time)
    given = str(one.parameters.get("use_case", DEFAULT_USE_CASE))
    return Scheduled(
        use_case=Path(given).stem if "/" in given else given,
        deployment=full,
        cron=cron[0] if cron else None,
        zone=cron[1] if cron else None,
        next_run=times[0] if times else None,
        watched=_every(_read(client, full.replace(_NIGHTS, _WATCHES, 1))),
    )


def _every(watches: DeploymentResponse | None) -> int | None:
    """Minutes between two looks."""
    cron = _cron(watches) if watches and not watches.paused else None
    return int(cron[0].partition(" ")[0].rpartition("/")[2]) if cron else None


def _read(client: SyncPrefectClient, full: str) -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(full)
    except ObjectNotFound:
        return None


def _all(client: SyncPrefectClient) -> dict[str, DeploymentResponse]:
    """Full name → deployment, of all that the server has."""
    found: dict[str, DeploymentResponse] = {}
    flows = {one.id: one.name for one in _pages(client.read_flows)}
    for one in _pages(client.read_deployments):
        found[f"{flows.get(one.flow_id, '?')}/{one.name}"] = one
    return found


_PAGE = 200


def _pages(read: Any) -> Iterator[Any]:
    for offset in itertools.count(0, _PAGE):
        some = read(limit=_PAGE, offset=offset)
        yield from some
        if len(some) < _PAGE:
            return
