"""The server must turn the deployment's schedule into runs, or no night ever comes by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId

from flows.retrain import flywheel
from tests import nights

PROJECT = yaml.safe_load((Path(__file__).parent.parent / "prefect.yaml").read_text())
RETRAIN = next(each for each in PROJECT["deployments"] if each["name"] == "retrain")


@pytest.mark.prefect
def test_the_nightly_schedule_becomes_scheduled_runs() -> None:
    (schedule,) = RETRAIN["schedules"]
    nights.prefect_server()
    with get_client(sync_client=True) as client:
        identity = flywheel.to_deployment(  # type: ignore[union-attr]
            name="retrain", cron=schedule["cron"]
        ).apply()
        client._client.post(f"/deployments/{identity}/schedule", json={}).raise_for_status()

        this = DeploymentFilter(id=DeploymentFilterId(any_=[identity]))
        runs = client.read_flow_runs(deployment_filter=this)

    assert len(runs) >= 3
    times = sorted(run.expected_start_time for run in runs)
    assert {(time.hour, time.minute) for time in times} == {(2, 30)}


def test_two_nights_never_run_at_once() -> None:
    limit = RETRAIN["concurrency_limit"]

    assert limit == {"limit": 1, "collision_strategy": "CANCEL_NEW"}


def test_every_deployment_names_a_flow_that_exists() -> None:
    for deployment in PROJECT["deployments"]:
        module, _, function = deployment["entrypoint"].rpartition(".")

        assert hasattr(__import__(module, fromlist=[function]), function)
