"""What an installation needs once: work pools, deployments, the watchdog.

    python -m flows.servers.prefect_server python -m flows.servers.deploy

Where the server has them from this version of the project already, nothing is done.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectNotFound

from flows import schedules, watchdog
from flows.cli.main import main
from flows.cli.output import echo
from flywheel import __version__
from flywheel.config import Home
from flywheel.errors import OrchestratorUnavailable
from flywheel.files import private_files
from flywheel.home.environment import open_home, prepare

POOLS = ("cpu", "gpu")


def deploy(prog_name: str = "") -> None:
    """Give the server whatever it lacks.

    Raises:
        OrchestratorUnavailable: it does not answer, or takes no deployment.
    """
    home = Home()
    prepare(home)
    open_home(home)
    known = home.prefect / "deployed"
    stamp = _stamp()
    with schedules.server(home) as client:
        if known.is_file() and known.read_text() == stamp and _is_there(client):
            echo("everything is deployed")
            return
        for pool in POOLS:
            client.create_work_pool(WorkPoolCreate(name=pool, type="process"), overwrite=True)
    prefect = str(Path(sys.executable).with_name("prefect"))
    done = subprocess.run([prefect, "--no-prompt", "deploy", "--all"], check=False)
    if done.returncode:
        raise OrchestratorUnavailable(
            f"prefect deploy --all ended with {done.returncode}: see above what it says."
        )
    asyncio.run(watchdog.install())
    for one in schedules.deploy_kept(home):
        echo(f"{one.deployment}: {f'{one.cron} {one.zone}' if one.cron else 'not scheduled'}")
    private_files.replace(known, stamp.encode())


def _stamp() -> str:
    """What deployments depend on: the project's file, its place, its version, and this Python."""
    project = Path("prefect.yaml").read_bytes()
    place = os.environ.get("FLYWHEEL_ROOT", str(Path.cwd()))
    told = "\0".join([place, __version__, sys.prefix]).encode()
    return hashlib.sha256(project + told).hexdigest()


def _is_there(client: SyncPrefectClient) -> bool:
    try:
        for pool in POOLS:
            client.read_work_pool(pool)
        client.read_deployment_by_name("flywheel/retrain")
    except ObjectNotFound:
        return False
    return not schedules.out_of_date(client)


if __name__ == "__main__":
    main(deploy)
