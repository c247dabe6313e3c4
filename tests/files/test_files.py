"""Locks that end with their process, and files that are whole or as they were before."""

from __future__ import annotations

import errno
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flywheel.errors import StoreBusy
from flywheel.files import hashing, locks, private_files

BUSY = StoreBusy("Another has it.")
HOLDS = """
import sys, time
from pathlib import Path
from flywheel.errors import StoreBusy
from flywheel.files import locks
path = Path(sys.argv[1])
take = locks.held_folder if path.is_dir() else locks.held
with take(path, busy=StoreBusy("it is held")):
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds ``path`` until it is killed."""
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(path)], stdout=subprocess.PIPE) as one:
        assert one.stdout is not None
        assert one.stdout.readline() == b"held\n"
        try:
            yield one
        finally:
            one.kill()


def test_a_killed_process_frees_the_file_that_it_held(tmp_path: Path) -> None:
    path = tmp_path / "home" / "night.lock"
    with holder(path) as process:
        with pytest.raises(StoreBusy, match="Another has it"), locks.held(path, busy=BUSY):
            pass
        process.send_signal(signal.SIGKILL)
        with locks.held(path, wait_s=60, busy=BUSY):
            process.wait()
    assert process.returncode == -signal.SIGKILL


def test_a_killed_process_frees_the_folder_that_it_held(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        with pytest.raises(StoreBusy), locks.held_folder(tmp_path, busy=BUSY):
            pass
        process.kill()
        process.wait()
        with locks.held_folder(tmp_path, busy=BUSY):
            pass


def test_what_was_started_by_the_holder_does_not_hold_on(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with locks.held(path, busy=BUSY):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with child, locks.held(path, busy=BUSY):
        child.communicate(b"\n")
    assert child.returncode == 0


def test_the_wait_goes_on_until_the_other_lets_go(tmp_path: Path) -> None:
    path, order = tmp_path / "a.lock", []
    first = locks.take(path)
    assert first is not None

    def second() -> None:
        with locks.held(path, wait_s=math.inf, busy=BUSY):
            order.append("second")

    thread = threading.Thread(target=second, daemon=True)
    thread.start()
    order.append("first")
    os.close(first)
    thread.join(60)
    assert order == ["first", "second"]


def test_a_lock_that_was_moved_away_keeps_nobody_out(tmp_path: Path) -> None:
    path = tmp_path / "home" / "a.lock"
    with locks.held(path, busy=BUSY):
        path.parent.rename(tmp_path / "aside")
        with locks.held(path, busy=BUSY):
            pass


def test_a_folder_that_is_gone_is_busy_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreBusy), locks.held_folder(tmp_path / "gone", busy=BUSY):
        pass
    assert not (tmp_path / "gone").exists()


def test_nothing_stands_in_a_lock_file_and_what_does_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    path.write_text("whose?")
    with locks.held(path, busy=BUSY):
        assert path.read_text() == "whose?"


# ---- Whole or not at all


def test_a_disk_that_is_full_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    private_files.replace(path, b"before")

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        private_files.replace(path, b"after")
    with (
        pytest.raises(OSError, match="No space"),
        private_files.replacing(path, partial=tmp_path / "a.tmp") as partial,
    ):
        partial.write_bytes(b"after")
    assert path.read_bytes() == b"before"
    assert [one.name for one in tmp_path.iterdir()] == ["a.json"]


def test_a_library_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path, partial = tmp_path / "a.parquet", tmp_path / "a.tmp"
    path.write_bytes(b"before")

    def breaks_off() -> None:
        partial.write_bytes(b"half of ")
        raise ValueError("no such type")

    with pytest.raises(ValueError, match="no such"), private_files.replacing(path, partial=partial):
        breaks_off()
    assert [one.read_bytes() for one in tmp_path.iterdir()] == [b"before"]


def test_what_a_killed_process_left_is_written_over(tmp_path: Path) -> None:
    path, partial = tmp_path / "rows.jsonl", tmp_path / "rows.jsonl.open"
    partial.write_bytes(b'{"text": "half')
    private_files.replace(path, b"whole", partial=partial)
    assert [one.name for one in tmp_path.iterdir()] == ["rows.jsonl"]
    assert path.stat().st_mode & 0o077 == 0


def test_hashes_are_those_that_earlier_homes_hold(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert hashing.of_file(path) == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    assert hashing.of_json({"b": "ü", "a": [1.5, None]}) == (
        "2ca325583622846f96505c6a446a5ba3908186f35d8a9c38619fc565fc28aba5"
    )
    assert hashing.of_json({"a": 1, "b": 2}) == hashing.of_json({"b": 2, "a": 1})
