"""``make up``: everything by one command, on this machine only, and gone with one SIGTERM."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from flows.servers import installation, processes
from flywheel.config import Home
from flywheel.errors import ConfigError
from tests.nights import ROOT

PORTS = ("PREFECT_SERVER_API_PORT", "MLFLOW_PORT", "SERVE_PORT")

# a supervisor whose processes are a polite one, and one that leaves a stubborn child behind
SMALL = """
import os, sys
from flows.servers import supervisor
from flows.servers.processes import Process

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
LEAVES = (
    "import subprocess, sys; "
    f"subprocess.Popen([sys.executable, '-c', {STUBBORN!r}], start_new_session=True)"
)
POLITE = "import time; time.sleep(600)"

def bring_up(installation, home, *, use_case):
    installation.start(Process("polite", ("-c", POLITE)))
    installation.once(Process("leaves", ("-c", LEAVES)))
    installation.state = "ready"
    installation.write()

supervisor._bring_up = bring_up
supervisor.GRACE_S = 0.5
sys.argv = ["", "any"]
supervisor.run()
"""


def free_ports() -> dict[str, str]:
    sockets = [socket.socket() for _ in PORTS]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    found = {name: str(one.getsockname()[1]) for name, one in zip(PORTS, sockets, strict=True)}
    for one in sockets:
        one.close()
    return found


def environment(home: Home, **more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
    return {**kept, "FLYWHEEL_HOME": str(home.root), "DO_NOT_TRACK": "1", **more}


def all_below(pid: int) -> list[psutil.Process]:
    top = psutil.Process(pid)
    return [top, *top.children(recursive=True)]


def runs(process: psutil.Process) -> bool:
    """Whether it still does something: one that ended may wait long for an init to clear it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until_ready(home: Home) -> int:
    deadline = time.monotonic() + 60
    while installation._state(home).get("state") != "ready":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return int(installation._state(home)["pid"])


def test_all_listen_on_this_machine_only(home: Home) -> None:
    started = [
        *processes.servers(home, {}),
        processes.set_up({}),
        *processes.workers({}, use_case="support"),
    ]

    urls = [one.url for one in started if one.url]
    assert [url.partition("//")[2].partition("/")[0] for url in urls] == [
        "127.0.0.1:4200",
        "127.0.0.1:5000",
        "127.0.0.1:8077",
    ]
    assert [one.name for one in started] == [
        "prefect",
        "mlflow",
        "setup",
        "worker-cpu",
        "worker-gpu",
        "service",
    ]
    # arguments can be read by everybody on the machine
    key = (home.root / "mlflow-webhooks.key").read_text().strip()
    assert all(key not in " ".join(one.command) for one in started)


def test_a_port_that_is_taken_is_named_before_anything_starts(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for name, port in free_ports().items():
            monkeypatch.setenv(name, port)
        monkeypatch.setenv("MLFLOW_PORT", str(taken.getsockname()[1]))
        monkeypatch.chdir(ROOT)
        with pytest.raises(ConfigError, match=r"mlflow would listen on, is taken.*MLFLOW_PORT"):
            installation.up(home, "product-reviews")
    assert not (home.root / "installation.json").exists()


def test_where_nothing_runs_it_is_said(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    installation.down(home)

    assert capsys.readouterr().out == "Nothing runs.\n"
    assert installation.table(home) == ["Nothing runs: make up starts everything."]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="orphans are adopted on Linux only")
def test_one_sigterm_ends_what_a_process_left_behind_too(home: Home) -> None:
    # as from a script's background job, which ignores Ctrl-C
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SMALL],
        env=environment(home),
        cwd=ROOT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    pid = wait_until_ready(home)
    below = all_below(pid)
    assert len(below) == 3
    assert installation.runs(home) == pid

    supervisor.send_signal(signal.SIGTERM)
    supervisor.wait(60)

    assert [one for one in below if runs(one)] == []
    assert installation.runs(home) is None
    assert installation._state(home)["state"] == "stopped"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a parent's death is told on Linux only")
def test_what_runs_ends_where_the_one_that_started_it_is_killed(home: Home) -> None:
    supervisor = subprocess.Popen([sys.executable, "-c", SMALL], env=environment(home), cwd=ROOT)
    wait_until_ready(home)
    polite = psutil.Process(installation._state(home)["processes"][0]["pid"])
    stubborn = [one for one in all_below(supervisor.pid) if one.pid != polite.pid]

    supervisor.kill()
    supervisor.wait(60)
    polite.wait(60)

    assert installation.runs(home) is None
    # what ignores SIGTERM is left to whoever killed the supervisor
    for one in stubborn:
        if one.pid != supervisor.pid and one.is_running():
            one.kill()


@pytest.mark.slow
def test_everything_comes_up_by_one_command_and_goes_by_one_signal(home: Home) -> None:
    environ = environment(home, **free_ports())

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "flows.servers.installation", *words]
        return subprocess.run(
            command, env=environ, cwd=ROOT, text=True, capture_output=True, check=False
        )

    started = call("up", "product-reviews")
    assert started.returncode == 0, started.stdout + started.stderr
    below = all_below(installation._state(home)["pid"])
    try:
        lines = call("ps").stdout.splitlines()
        assert [line.split()[:2] for line in lines] == [
            [name, "ready"] for name in ("prefect", "mlflow", "worker-cpu", "worker-gpu", "service")
        ]
        known = call("up", "product-reviews")
        assert "It runs already." in known.stderr
        assert known.stdout.splitlines() == lines
        for name in PORTS:
            with socket.socket() as elsewhere:
                assert elsewhere.connect_ex(("127.0.0.1", int(environ[name]))) == 0
        (deployed,) = Path(home.prefect).glob("deployed")
        before = deployed.stat().st_mtime_ns
    finally:
        stopped = call("down")
    assert stopped.stdout == "Everything is stopped.\n"
    assert [one for one in below if runs(one)] == []

    # set up once: the second time nothing is deployed
    try:
        assert call("up", "product-reviews").returncode == 0
        assert "everything is deployed" in (home.root / "logs/setup.log").read_text()
        assert deployed.stat().st_mtime_ns == before
    finally:
        call("down")
