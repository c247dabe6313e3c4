"""Run an installation's processes until one SIGTERM, and leave none behind.

    python -m flows.servers.supervisor USE_CASE

``make up`` starts it. It holds the lock of the home's installation, writes what runs into
``HOME/installation.json`` and what each process says into ``HOME/logs/NAME.log``. What ends by
itself is started again, later each time. Logs are cut off (`flows.servers.logs`).
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

import psutil

from flows.cli.main import main
from flows.servers import processes
from flows.servers.logs import rotate
from flows.servers.prefect_server import protect
from flows.servers.processes import Process
from flywheel.config import Home
from flywheel.errors import ConfigError, StoreBusy
from flywheel.files import locks, private_files
from flywheel.home.environment import open_home, prepare

log = logging.getLogger(__name__)

READY_S = 300.0
"""For a server to answer: its databases are made at the first start."""
GRACE_S = 20.0
"""From SIGTERM to SIGKILL: a night writes down that it was stopped."""
_LOOK_S = 0.2
_LOGS_S = 60.0
"""Between two looks at the size of logs."""
_LONGEST_S = 60.0
# of Linux's prctl
_ADOPT_ORPHANS, _SIGNAL_OF_PARENTS_DEATH = 36, 1


@dataclass
class Running:
    """A process as ``make ps`` shows it. ``state``: starting, ready, ended, failed."""

    name: str
    url: str | None
    log: str
    pid: int | None = None
    state: str = "starting"
    starts: int = 0


class Stopped(Exception):
    """Somebody asked this process to end."""


class Unready(Exception):
    """A process did not come up."""


class Installation:
    """The processes, and the file that says what becomes of them."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.running: dict[str, Running] = {}
        self.children: dict[str, tuple[Process, subprocess.Popen[bytes], float]] = {}
        self.state = "starting"

    def start(self, process: Process) -> None:
        """Start a process, its output at the end of its log."""
        log = logs(self.home) / f"{process.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        known = self.running.setdefault(process.name, Running(process.name, process.url, str(log)))
        with log.open("ab") as out:
            child = subprocess.Popen(
                [sys.executable, *process.command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=process.environment(),
                # of a terminal's Ctrl-C only this process hears, which then ends them in order
                start_new_session=True,
                # this process has one thread, so that what a fork leaves behind cannot hang
                preexec_fn=_die_with_parent,
            )
        known.pid, known.state, known.starts = child.pid, "starting", known.starts + 1
        self.children[process.name] = (process, child, time.monotonic())
        self.write()

    def wait_ready(self, names: Sequence[str]) -> None:
        """Wait until each answers, or, where it listens on no port, lives.

        Raises:
            Unready: one ended, or did not answer in time.
        """
        deadline = time.monotonic() + READY_S
        for name in names:
            while not self._is_ready(name):
                if self.children[name][1].poll() is not None:
                    raise Unready(name)
                if time.monotonic() > deadline:
                    raise Unready(name)
                time.sleep(_LOOK_S)

    def _is_ready(self, name: str) -> bool:
        known = self.running[name]
        if known.url is not None and not processes.answers(known.url):
            return False
        known.state = "ready"
        self.write()
        return True

    def once(self, process: Process) -> None:
        """Run a process to its end.

        Raises:
            Unready: it failed.
        """
        self.start(process)
        code = self.children[process.name][1].wait()
        known = self.running[process.name]
        known.state, known.pid = "ended" if code == 0 else "failed", None
        del self.children[process.name]
        self.write()
        if code:
            raise Unready(process.name)

    def watch(self) -> None:
        """Start again whatever ends, and keep the logs small, until `Stopped`."""
        again: dict[str, float] = {}
        rotated = time.monotonic()
        while True:
            now = time.monotonic()
            if now - rotated >= _LOGS_S:
                rotated = now
                self._rotate()
            for name, (process, child, since) in list(self.children.items()):
                known = self.running[name]
                if child.poll() is None:
                    if known.state == "starting":
                        self._is_ready(name)
                    continue
                if name not in again:
                    known.state, known.pid = "ended", None
                    lived = now - since
                    wait = 1.0 if lived > _LONGEST_S else min(_LONGEST_S, 2.0**known.starts)
                    again[name] = now + wait
                    self.write()
                elif now >= again[name]:
                    del again[name]
                    self.start(process)
            time.sleep(_LOOK_S)

    def _rotate(self) -> None:
        try:
            rotate(logs(self.home))
        except OSError as error:
            # a full disk is no reason to end what runs
            log.warning("the logs were not rotated: %s", error)

    def stop(self) -> None:
        """End every process, the last started first, with all that they started."""
        self.state = "stopping"
        self.write()
        for _, child, _ in reversed(list(self.children.values())):
            with suppress(ProcessLookupError):
                child.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs(_descendants(), timeout=GRACE_S)
        # a worker leaves its runs to themselves; they were adopted here
        for one in _descendants() or alive:
            with suppress(psutil.NoSuchProcess):
                one.terminate()
        _, alive = psutil.wait_procs(_descendants(), timeout=GRACE_S)
        for one in alive:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(_descendants(), timeout=GRACE_S)

    def write(self) -> None:
        """Say what runs, for whoever asks."""
        content = {
            "pid": os.getpid(),
            "state": self.state,
            "processes": [asdict(one) for one in self.running.values()],
        }
        private_files.replace(state_file(self.home), json.dumps(content, indent=1).encode())


def state_file(home: Home) -> Path:
    """What the installation of a home writes down of itself."""
    return home.root / "installation.json"


def logs(home: Home) -> Path:
    """What each process of the installation says."""
    return home.root / "logs"


def locked(home: Home) -> int | None:
    """The lock of the home's installation, held until closed; None where another holds it."""
    return locks.take(home.root / "installation.lock")


def run(prog_name: str = "") -> None:
    """Run everything until SIGTERM or Ctrl-C.

    Raises:
        ConfigError: no use case is named.
        StoreBusy: it runs already.
    """
    if len(sys.argv) != 2:
        raise ConfigError("Name the use case to serve: python -m flows.servers.supervisor NAME")
    home = Home()
    os.environ.setdefault("PREFECT_LOGGING_EXTRA_LOGGERS", "flywheel,tasks,flows")
    os.environ.setdefault("FLYWHEEL_ROOT", str(Path.cwd()))
    protect(home, os.environ)
    prepare(home)
    open_home(home)
    lock = locked(home)
    if lock is None:
        raise StoreBusy(f"The installation of {home.root} runs already: make ps shows it.")
    _adopt_orphans()
    # also where a script started this process with Ctrl-C ignored, which children would inherit
    for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(one, _stop)
    installation = Installation(home)
    try:
        _bring_up(installation, home, use_case=sys.argv[1])
        installation.watch()
    except Stopped:
        pass
    except Unready as unready:
        known = installation.running[str(unready)]
        known.state = "failed"
    finally:
        for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(one, signal.SIG_IGN)
        failed = any(one.state == "failed" for one in installation.running.values())
        installation.stop()
        installation.state = "failed" if failed else "stopped"
        installation.write()
        os.close(lock)


def _bring_up(installation: Installation, home: Home, *, use_case: str) -> None:
    first = processes.servers(home, os.environ)
    for one in first:
        installation.start(one)
    installation.wait_ready([one.name for one in first])
    installation.once(processes.set_up(os.environ))
    last = processes.workers(os.environ, use_case=use_case)
    for one in last:
        installation.start(one)
    installation.wait_ready([one.name for one in last])
    installation.state = "ready"
    installation.write()


def _stop(number: int, _frame: FrameType | None) -> None:
    raise Stopped


def _adopt_orphans() -> None:
    """Become the parent of what a process leaves behind, where the system can do that."""
    _prctl(_ADOPT_ORPHANS, 1)


def _die_with_parent() -> None:
    """Let a process end with this one, even where this one is killed, if the system can do that."""
    _prctl(_SIGNAL_OF_PARENTS_DEATH, signal.SIGTERM)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _descendants() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


if __name__ == "__main__":
    main(run)
