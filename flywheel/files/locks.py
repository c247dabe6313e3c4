"""Locks on files and folders: one process at a time, freed by the system when that process ends.

They are filelock's native locks (`flock` on Unix), taken on a file that we opened ourselves.
Its `FileLock` is not used: it does not see that a home was put aside with its locks, it locks no
folders, and where a disk has no `flock` it leaves a marker that outlives a killed process.

DuckDB locks its own file; nothing here touches that.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import lock_descriptor

from flywheel.errors import StoreBusy
from flywheel.files import permissions

log = logging.getLogger(__name__)

_RETRY_S = 0.05


def lock(fd: int, path: Path) -> bool:
    """Lock an open file without waiting; whether it is ours now, and still the one of that name."""
    return lock_descriptor(fd, blocking=False) and is_at(fd, path)


def is_at(fd: int, path: Path) -> bool:
    """Whether the open file is the one of that name."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def take(path: Path) -> int | None:
    """Lock a file, made where there is none; None where another has it. Closing it frees it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return _locked(path, os.O_RDWR | os.O_CREAT)


@contextmanager
def held(path: Path, *, wait_s: float = 0.0, busy: StoreBusy) -> Iterator[int]:
    """Hold the lock file of that name; yields it opened, so that who holds it may stand in it.

    Args:
        path: The file; it is made where there is none, and stays.
        wait_s: For how long another's end is waited for, in seconds; ``inf`` for as long as needed.
        busy: What is raised then.

    Raises:
        StoreBusy: another process, or another thread of this one, holds it.
    """
    with _open(_waited_for(path, wait_s), busy) as fd:
        yield fd


@contextmanager
def held_folder(folder: Path, *, busy: StoreBusy) -> Iterator[None]:
    """Hold a folder that is there, without waiting for another that does.

    Raises:
        StoreBusy: another has it, or has put another in its place meanwhile.
        OSError: it cannot be opened.
    """
    with _open(_locked(folder, os.O_RDONLY), busy):
        yield


def _waited_for(path: Path, wait_s: float) -> int | None:
    deadline, waiting = time.monotonic() + wait_s, False
    while (fd := take(path)) is None:
        if time.monotonic() >= deadline:
            return None
        if not waiting:
            log.info("waiting for %s, which another process holds", path.name)
        waiting = True
        time.sleep(_RETRY_S)
    return fd


@contextmanager
def _open(fd: int | None, busy: StoreBusy) -> Iterator[int]:
    if fd is None:
        raise busy
    try:
        yield fd
    finally:
        os.close(fd)


def _locked(path: Path, flags: int) -> int | None:
    """The opened and locked file of that name; None where another holds it, or it went away.

    A home that is put aside takes its locks along: a lock on such a file would keep nobody out.
    """
    try:
        fd = os.open(path, flags, permissions.file_mode())
    except FileNotFoundError:
        return None
    try:
        if lock(fd, path):
            return fd
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None
