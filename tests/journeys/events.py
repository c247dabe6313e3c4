"""What befalls a company once on its way; each is done from outside, as it happens to people."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta

from tests.journeys.road import NOWHERE, CommandFailed, Road

KILL_S = 240


def prompt_edited(road: Road) -> None:
    """Somebody words the question anew."""
    road.edit(prompt="Please read this: {text}\nWhat is it about?")
    road.restart()


def label_added(road: Road, label: str) -> None:
    """The company wants another answer to be possible."""
    road.edit(labels={label: "new since today", **road.settings["labels"]})
    road.restart()


def library_changed(road: Road, name: str = "transformers") -> None:
    """A library that decides answers is of another version: as an upgrade looks from outside."""
    found = road.folder / "upgraded" / f"{name}-99.0.dist-info"
    found.mkdir(parents=True)
    (found / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 99.0\n")
    road.upgraded = found.parent
    road.restart()


def version_deleted(road: Road, version: str) -> None:
    """Somebody clears up in MLflow: the version is gone, with its aliases."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{road.home / 'mlflow.db'}")
    client.delete_model_version(road.name, version)


def night_killed(road: Road, *, after: str) -> None:
    """The next night dies as in a power cut, once its log holds ``after``."""
    log = road.folder / "killed.log"
    at = road.as_of
    with log.open("w") as err:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "flows", "night", "-u", road.name),
                *("--as-of", f"{at:%Y-%m-%dT%H:%M:%S}"),
            ],
            cwd=road.folder,
            env=road.environment,
            stdout=subprocess.DEVNULL,
            stderr=err,
            start_new_session=True,
        )
    deadline = time.monotonic() + KILL_S
    while after not in log.read_text("utf-8", errors="replace"):
        if process.poll() is not None or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    ended = process.poll()
    if ended is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode != -signal.SIGKILL:
        raise CommandFailed(f"the night was not killed at {after!r}: {log.read_text()[-3_000:]}")


def prefect_away(road: Road) -> None:
    """The next night finds no Prefect: it says so in a sentence, and can be lived later."""
    done = road.run(
        "night", "-u", road.name, "--as-of", f"{road.as_of:%Y-%m-%dT%H:%M:%S}",
        may_fail=True, fresh=True, PREFECT_API_URL=NOWHERE,
    )  # fmt: skip
    assert done.rc == 1, done.told
    assert "Traceback" not in done.err, done.told
    assert NOWHERE in done.err, done.told


def poll_beside(road: Road) -> None:
    """What carries out people's decisions begins with the next night."""
    script = f"from flows.reconcile import settle; settle({road.name!r})"
    road.beside.append(
        subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=road.folder,
            env=road.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    )


def clocks_changed(road: Road) -> None:
    """Summer time begins: the next night comes an hour earlier in UTC."""
    road.shift -= timedelta(hours=1)
