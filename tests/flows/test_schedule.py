"""The server must turn the deployment's schedule into runs, or no night ever comes by itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from click.testing import CliRunner, Result
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.server.schemas import schedules as server_schedules
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import schedules
from flows.cli.inspect import _deployments
from flows.cli.main import cli
from flows.retrain import flywheel
from flows.schedules import POOL
from flywheel.config import Home
from flywheel.errors import ConfigError, OrchestratorUnavailable
from flywheel.home import schedules as kept
from tests import nights
from tests.nights import ROOT

PROJECT = yaml.safe_load((ROOT / "prefect.yaml").read_text())
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


@pytest.fixture
def client(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[SyncPrefectClient]:
    """A server with the pools of `make deploy`, and a project with two use cases."""
    nights.prefect_server()
    (home.root / "usecases").mkdir()
    monkeypatch.chdir(home.root)
    usual = (ROOT / "usecases/product-reviews.yaml").read_text()
    for name in ("product-reviews", "support"):
        file = home.root / f"usecases/{name}.yaml"
        file.write_text(usual.replace("name: product-reviews", f"name: {name}"))
    with get_client(sync_client=True) as client:
        for pool in (POOL, "gpu"):
            client.create_work_pool(WorkPoolCreate(name=pool, type="process"), overwrite=True)
        # other tests of this process leave theirs on the server
        remove_deployments(client)
        yield client
        remove_deployments(client)


def remove_deployments(client: SyncPrefectClient) -> None:
    for one in client.read_deployments():
        client.delete_deployment(one.id)


def call(*words: str) -> Result:
    return CliRunner().invoke(cli, words, catch_exceptions=False)


def of_yaml(name: str) -> dict[str, Any]:
    """A deployment of prefect.yaml, also one that stands there as an example."""
    text = (ROOT / "prefect.yaml").read_text().replace("  # -", "  -").replace("  #  ", "   ")
    return next(each for each in yaml.safe_load(text)["deployments"] if each["name"] == name)


@pytest.mark.prefect
def test_a_use_case_of_ones_own_is_on_the_schedule_by_one_command(
    client: SyncPrefectClient, home: Home
) -> None:
    done = call("schedule", "-u", "support", "--at", "02:30", "--tz", "Europe/Berlin")

    assert done.exit_code == 0
    assert "support: every day at 02:30 Europe/Berlin, next 20" in done.stdout
    for full in ("flywheel/retrain-support", "settle/poll-support"):
        made, named = client.read_deployment_by_name(full), of_yaml(full.partition("/")[2])
        assert made.entrypoint == named["entrypoint"]
        assert made.description == named["description"]
        assert made.parameters == named["parameters"] == {"use_case": "support"}
        (given,), (wanted,) = made.schedules, named["schedules"]
        assert given.schedule.cron == wanted["cron"]
        assert given.schedule.timezone == wanted["timezone"]
        assert made.global_concurrency_limit.limit == named["concurrency_limit"]["limit"]
        assert made.concurrency_options.collision_strategy == "CANCEL_NEW"
        assert made.work_pool_name == named["work_pool"]["name"]
        (step,) = made.pull_steps
        assert step == {
            "prefect.deployments.steps.set_working_directory": {"directory": str(home.root)}
        }


@pytest.mark.prefect
def test_further_use_cases_poll_at_other_minutes_and_change_their_time(
    client: SyncPrefectClient, home: Home
) -> None:
    call("schedule", "-u", "product-reviews", "--at", "02:30")
    call("schedule", "-u", "support", "--at", "02:30")
    call("schedule", "-u", "support", "--at", "23:05", "--tz", "Asia/Kolkata")

    def cron(full: str) -> str:
        (one,) = client.read_deployment_by_name(full).schedules
        return one.schedule.cron

    assert (cron("settle/poll"), cron("settle/poll-support")) == (
        "*/5 * * * *",
        "1-59/5 * * * *",
    )
    listed = json.loads(call("schedules", "--json").stdout)
    assert [(one["use_case"], one["cron"], one["zone"]) for one in listed] == [
        ("product-reviews", "30 2 * * *", "UTC"),
        ("support", "5 23 * * *", "Asia/Kolkata"),
    ]
    # 23:05 in India
    assert " 17:35:00" in listed[1]["next_run"]


@pytest.mark.prefect
def test_a_server_made_anew_gets_what_the_home_keeps(client: SyncPrefectClient, home: Home) -> None:
    call("schedule", "-u", "support", "--at", "03:00", "--tz", "Europe/Berlin")
    call("schedule", "-u", "product-reviews", "--at", "01:15")
    call("unschedule", "-u", "product-reviews")
    for one in client.read_deployments():
        client.delete_deployment(one.id)
    # as make deploy does before
    nightly = kept.nightly("product-reviews", "02:30", "Europe/Berlin")
    schedules.schedule(client, "product-reviews", nightly)

    done = {one.use_case: one.cron for one in schedules.deploy_kept(home)}

    assert done == {"product-reviews": None, "support": "0 3 * * *"}
    assert call("unschedule", "-u", "support").stdout == "support is no longer on the schedule\n"
    assert [one.use_case for one in schedules.scheduled(client)] == ["product-reviews"]
    assert kept.kept(home) == {"product-reviews": None}


@pytest.mark.prefect
@pytest.mark.parametrize("file_is_there", [True, False])
def test_what_is_removed_leaves_the_schedule(
    client: SyncPrefectClient, home: Home, file_is_there: bool
) -> None:
    call("schedule", "-u", "support", "--at", "02:30")
    if not file_is_there:
        (home.root / "usecases/support.yaml").unlink()
    assert "schedule: 02:30 UTC" in call("remove", "support").stdout
    assert [one.use_case for one in schedules.scheduled(client)] == ["support"]
    assert call("remove", "support", "--yes").exit_code == 0
    assert schedules.scheduled(client) == []
    assert kept.kept(home) == {}
    with pytest.raises(ConfigError, match="no use case support"):
        call("remove", "support")


@pytest.mark.prefect
def test_a_schedule_whose_file_is_gone_can_be_taken_off(
    client: SyncPrefectClient, home: Home
) -> None:
    call("schedule", "-u", "support", "--at", "02:30")
    (home.root / "usecases/support.yaml").unlink()
    assert call("unschedule", "-u", "support").stdout == "support is no longer on the schedule\n"
    assert schedules.scheduled(client) == []


def test_the_doctor_names_deployments_of_before_and_what_mends_them(
    client: SyncPrefectClient, home: Home
) -> None:
    call("schedule", "-u", "support", "--at", "03:00")
    identity = client.create_flow_from_name("flywheel")
    client.create_deployment(identity, "retrain", entrypoint="flows.nightly.flywheel")

    (found,) = _deployments(home)

    assert not found.ok
    assert "flywheel/retrain (flows.nightly.flywheel)" in found.detail
    assert "support" not in found.detail
    assert "make deploy" in found.detail


def test_without_a_server_a_schedule_is_a_sentence(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(OrchestratorUnavailable, match="make up"),
    ):
        call("schedule", "--at", "02:30")
    assert kept.kept(home) == {}


# ---- Times


@pytest.mark.parametrize("at", ["2:30", "24:00", "02:60", "02:30:00", "noon", "02:30 ", ""])
def test_a_wrong_time_is_a_sentence(at: str) -> None:
    with pytest.raises(ConfigError, match="HH:MM"):
        kept.nightly("support", at, "UTC")


@pytest.mark.parametrize(
    ("zone", "hint"),
    [
        ("Europe/Berln", "Europe/Berlin"),
        ("europe/berlin", "Europe/Berlin"),
        ("CEST", "Write it as Europe/Berlin, or UTC"),
        ("+01:00", "UTC"),
    ],
)
def test_a_wrong_zone_is_a_sentence(zone: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        kept.nightly("support", "02:30", zone)


@pytest.mark.parametrize("at", ["00:00", "01:59", "02:30", "03:00", "12:00", "23:59"])
@pytest.mark.parametrize(
    "zone", ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]
)
def test_every_day_has_one_night_where_clocks_are_changed_too(at: str, zone: str) -> None:
    """Two years, by the server's own reckoning: no day without, none with two."""
    cron = server_schedules.CronSchedule(cron=kept.nightly("x", at, zone).cron, timezone=zone)
    start = datetime(2026, 1, 1, 12, tzinfo=UTC)
    times = asyncio.run(cron.get_dates(2 * 365, start=start))

    there = [time.astimezone(ZoneInfo(zone)) for time in times]
    days = {time.date() for time in there}
    assert len(days) == len(there) == (max(days) - min(days)).days + 1
    usual = [time for time in there if f"{time:%H:%M}" == at]
    assert len(there) - len(usual) <= 2, "once a spring"


def test_two_nights_never_run_at_once() -> None:
    limit = RETRAIN["concurrency_limit"]

    assert limit == {"limit": 1, "collision_strategy": "CANCEL_NEW"}


def test_every_deployment_names_a_flow_that_exists() -> None:
    for deployment in PROJECT["deployments"]:
        module, _, function = deployment["entrypoint"].rpartition(".")

        assert hasattr(__import__(module, fromlist=[function]), function)
