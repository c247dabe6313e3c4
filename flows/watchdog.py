"""Free the slot of a machine that died: without this, one dead night cancels all that follow.

    make deploy    (after the deployments are there)

A flow run whose heartbeats stop is marked Crashed, which frees the deployment's only slot. The
schedules that the home keeps (`flywheel schedule`) are given to the server as well.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from prefect.automations import Automation
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture

from flows.cli.output import echo
from flows.run_page import END_NAMES
from flows.schedules import deploy_kept
from flywheel.config import Home
from flywheel.files.permissions import keep_private

NAME = "crash-flow-runs-without-heartbeat"
# Prefect sends one every 180 s; three missed ones mean that nobody is there
SILENCE = timedelta(seconds=3 * 180)


def watchdog() -> Automation:
    """The automation, as it should stand on the server."""
    ends = ("Completed", "Failed", "Cancelled", "Crashed", *END_NAMES)
    return Automation(
        name=NAME,
        description="A flow run that sends no heartbeat is dead; mark it so and free its slot.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.heartbeat", *(f"prefect.flow-run.{end}" for end in ends)},
            match={"prefect.resource.id": ["prefect.flow-run.*"]},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=SILENCE,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED, message=f"No heartbeat for {SILENCE.seconds} s."
            )
        ],
    )


async def install() -> str:
    """Create the watchdog, or bring the one that is there up to date; returns its name."""
    try:
        there = await Automation.aread(name=NAME)
    except ValueError:
        await watchdog().acreate()
        return NAME
    wanted = watchdog()
    there.trigger, there.actions = wanted.trigger, wanted.actions
    await there.aupdate()
    return NAME


if __name__ == "__main__":
    keep_private()
    echo(f"automation {asyncio.run(install())} is in place")
    for one in deploy_kept(Home()):
        when = f"{one.cron} {one.zone}" if one.cron else "not on the schedule"
        echo(f"{one.deployment}: {when}")
