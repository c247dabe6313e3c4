"""Logs of an installation are cut off while the processes go on writing, and no line is torn."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from flows.servers import logs, supervisor
from flows.servers.logs import KEPT, older, rotate
from flows.servers.processes import Process
from flywheel.config import Home

WRITES = """
import sys
for number in range(30_000):
    sys.stdout.write(f"line {number:06}\\n")
    sys.stdout.flush()
"""


def test_a_log_that_is_written_to_is_cut_off(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    with log.open("ab") as out:
        child = subprocess.Popen([sys.executable, "-c", WRITES], stdout=out)
    while child.poll() is None:
        rotate(tmp_path, most_bytes=150_000)
    rotate(tmp_path, most_bytes=0)

    files = [path for path in (older(log, n) for n in range(1, KEPT + 2)) if path.exists()]
    assert files, "how many there are depends on who was faster"
    assert log.read_bytes() == b""
    numbers = []
    for path in reversed(files):
        assert b"\0" not in path.read_bytes()
        numbers += [int(line.split()[1]) for line in path.read_text().splitlines()]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 29_999


def test_no_more_older_files_are_kept_than_said(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    for number in range(KEPT + 2):
        log.write_text(str(number))
        rotate(tmp_path, most_bytes=0)
    kept = [path.read_text() for path in (older(log, n) for n in range(1, KEPT + 1))]
    assert kept == [str(number) for number in range(KEPT + 1, 1, -1)]
    assert not older(log, KEPT + 1).exists()


def test_small_logs_and_other_files_are_left(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("short")
    (tmp_path / "a.log.1").write_text("x" * 99)
    (tmp_path / "notes.txt").write_text("x" * 99)

    assert rotate(tmp_path, most_bytes=50) == []
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.log", "a.log.1", "notes.txt"]
    assert rotate(tmp_path / "none") == []


def test_older_lines_are_as_private_as_the_log(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("x" * 99)
    log.chmod(0o600)
    assert rotate(tmp_path, most_bytes=50) == ["a.log"]
    assert older(log, 1).stat().st_mode & 0o777 == 0o600


def test_the_supervisor_cuts_logs_off(home: Home) -> None:
    installation = supervisor.Installation(home)
    installation.start(Process("loud", ("-c", f"print('x' * {logs.MOST_BYTES + 1})")))
    installation.children["loud"][1].wait()

    installation._rotate()

    log = supervisor.logs(home) / "loud.log"
    assert (log.stat().st_size, older(log, 1).stat().st_size) == (0, logs.MOST_BYTES + 2)
