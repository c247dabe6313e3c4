"""``make up``, ``make down`` and ``make ps``: start an installation, stop it, look at it.

python -m flows.servers.installation up USE_CASE
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import Any
from urllib.parse import urlsplit

from flows.cli.main import main
from flows.cli.output import echo
from flows.servers import processes, supervisor
from flywheel import subprocesses
from flywheel.config import Home, load_use_case
from flywheel.errors import ConfigError, FlywheelError
from flywheel.home.environment import open_home, prepare

_LOOK_S = 0.3
_SHOWN_LINES = 15


def run(prog_name: str = "") -> None:
    """Do what the first argument says.

    Raises:
        ConfigError: it is none of up, down and ps.
    """
    words = sys.argv[1:]
    home = Home()
    prepare(home)
    if words[:1] == ["up"] and len(words) == 2:
        up(home, words[1])
    elif words == ["down"]:
        down(home)
    elif words == ["ps"]:
        echo(table(home))
    else:
        raise ConfigError("python -m flows.servers.installation up USE_CASE, or down, or ps")


def up(home: Home, use_case: str) -> None:
    """Start everything, and return once it answers.

    Raises:
        ConfigError: a port is taken, or there is no such use case.
        FlywheelError: a process did not come up; all are stopped again.
    """
    load_use_case(use_case)
    open_home(home)
    if runs(home) is not None:
        echo("It runs already.", err=True)
        echo(table(home))
        return
    _require_free_ports(home, use_case)
    supervisor.state_file(home).unlink(missing_ok=True)
    supervisor.logs(home).mkdir(parents=True, exist_ok=True)
    log = supervisor.logs(home) / "supervisor.log"
    with log.open("ab") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "flows.servers.supervisor", use_case],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=subprocesses.environment(os.environ),
            start_new_session=True,
        )
    try:
        _follow(home, child)
    except KeyboardInterrupt:
        child.send_signal(signal.SIGTERM)
        child.wait()
        raise
    echo(table(home))


def _follow(home: Home, child: subprocess.Popen[bytes]) -> None:
    """Say what is ready as it becomes so."""
    said: set[str] = set()
    while True:
        known = _state(home)
        for one in known.get("processes", []):
            if one["state"] in ("ready", "ended") and one["name"] not in said:
                said.add(one["name"])
                echo(
                    f"{one['name']} {'is ready' if one['state'] == 'ready' else 'is done'}",
                    err=True,
                )
        if known.get("state") == "ready":
            return
        if child.poll() is not None:
            raise FlywheelError(_failure(home, known))
        time.sleep(_LOOK_S)


def _failure(home: Home, known: dict[str, Any]) -> str:
    failed = [one for one in known.get("processes", []) if one["state"] == "failed"]
    name = failed[0]["name"] if failed else "supervisor"
    log = supervisor.logs(home) / f"{name}.log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_SHOWN_LINES:]
    told = "\n".join(f"  {line}" for line in lines)
    return f"{name} did not come up, and everything was stopped. {log} ends in\n{told}"


def down(home: Home) -> None:
    """Stop everything, and return once nothing is left."""
    pid = runs(home)
    if pid is None:
        echo("Nothing runs.")
        return
    os.kill(pid, signal.SIGTERM)
    while runs(home) is not None:
        time.sleep(_LOOK_S)
    echo("Everything is stopped.")


def runs(home: Home) -> int | None:
    """The process that holds the home's installation; None where nothing runs."""
    if not home.root.is_dir():
        return None
    lock = supervisor.locked(home)
    if lock is not None:
        os.close(lock)
        return None
    # it holds the lock for a moment before it has written who it is
    while not (pid := _state(home).get("pid")):
        time.sleep(_LOOK_S)
    return int(pid)


def table(home: Home) -> list[str]:
    """What runs, one line each: name, state, process, where it answers, where its log is."""
    if runs(home) is None:
        return ["Nothing runs: make up starts everything."]
    found = [one for one in _state(home)["processes"] if one["name"] != "setup"]
    return [
        f"{one['name']:<12}{_shown(one):<10}{one['pid'] or '-':<9}{_page(one['url']):<24}"
        f"{_short(one['log'])}"
        for one in found
    ]


def _shown(one: dict[str, Any]) -> str:
    if one["state"] == "ready" and one["url"] and not processes.answers(one["url"]):
        return "silent"
    return str(one["state"])


def _page(url: str | None) -> str:
    parts = urlsplit(url or "")
    return f"{parts.scheme}://{parts.netloc}" if url else "-"


def _short(log: str) -> str:
    short = os.path.relpath(log)
    return log if short.startswith(os.pardir) else short


def _state(home: Home) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(supervisor.state_file(home).read_bytes())
    except FileNotFoundError:
        return {}
    return found


def _require_free_ports(home: Home, use_case: str) -> None:
    wanted = [
        *processes.servers(home, os.environ),
        *processes.workers(os.environ, use_case=use_case),
    ]
    for one in wanted:
        port = urlsplit(one.url).port if one.url else None
        if port is not None and not _is_free(port):
            raise ConfigError(
                f"Port {port}, which {one.name} would listen on, is taken by another program. "
                f"Nothing was started. Stop that one, or name another port ({_PORT_OF[one.name]})."
            )


_PORT_OF = {
    "prefect": "make up PREFECT_PORT=4201",
    "mlflow": "make up MLFLOW_PORT=5001",
    "service": "make up SERVE_PORT=8078",
}


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


if __name__ == "__main__":
    main(run)
