"""Segments: append-only JSON Lines files in an inbox, each safe on the disk before it counts.

A segment is written under a name that ends in ``.open``, which ingest leaves alone, and renamed
once it is full or old. Its writer holds a lock on it, so that a segment without one was left by a
process that died, and anybody may seal it: `recover`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from flywheel.files import locks, permissions

OPEN = ".open"
PREFIX = "served-"
PREDICTIONS, FEEDBACK = "predictions", "feedback"

Write = Callable[[int, bytes], int]
Fsync = Callable[[int], None]


def free_bytes(folder: Path) -> int:
    """What an ordinary user may still write to the folder's disk."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


class Segment:
    """One open file. ``size`` is how much of it is on the disk for certain, in bytes."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.size = 0
        self.begun = time.monotonic()
        self._fd = fd

    @classmethod
    def create(cls, folder: Path, kind: str) -> Segment:
        """Open a new segment, locked, its name on the disk."""
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
            path = folder / f"{PREFIX}{stamp}-{secrets.token_hex(4)}.{kind}.jsonl{OPEN}"
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND
            fd = os.open(path, flags, permissions.file_mode())
            if locks.lock(fd, path):
                _sync_folder(folder)
                return cls(path, fd)
            # somebody who recovers segments was faster than the lock
            os.close(fd)

    def append(self, block: bytes, *, write: Write = os.write, fsync: Fsync = os.fsync) -> None:
        """Put whole lines onto the disk, all of them or none.

        Raises:
            OSError: they are not there, or no night will find them there, as the home was put
                aside. The segment must be sealed and not be written to again.
        """
        left = memoryview(block)
        try:
            while left:
                left = left[write(self._fd, bytes(left)) :]
            fsync(self._fd)
            if not locks.is_at(self._fd, self.path):
                raise OSError(errno.ESTALE, "it is not where it was begun", str(self.path))
        except OSError:
            # what does not get through here is unacknowledged, and may or may not be taken in
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self.size)
            raise
        self.size += len(block)

    def seal(self) -> Path | None:
        """Give the segment its final name and let go of it; None when it holds nothing.

        Also None where it is not under its name any more: what is there now is another's, as where
        a home was restored that had a copy of it.
        """
        try:
            return _seal(self.path, self.size) if locks.is_at(self._fd, self.path) else None
        finally:
            os.close(self._fd)


class Journal:
    """Segments of one kind, one after the other; to be used by one thread at a time.

    Args:
        folder: The inbox.
        kind: `PREDICTIONS` or `FEEDBACK`; stands in the files' names.
        max_bytes, max_age_s: A segment is sealed when it is larger or older.
        reserve_bytes: Nothing is written when less of the disk than this is free.
        max_held_bytes: No segment is begun when so much of this kind waits in the folder.
        write, fsync, free: The disk.
    """

    def __init__(
        self,
        folder: Path,
        kind: str,
        *,
        max_bytes: int,
        max_age_s: float,
        reserve_bytes: int = 0,
        max_held_bytes: int | None = None,
        write: Write = os.write,
        fsync: Fsync = os.fsync,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        self.folder, self.kind = folder, kind
        self._max_bytes, self._max_age_s = max_bytes, max_age_s
        self._reserve_bytes, self._max_held_bytes = reserve_bytes, max_held_bytes
        self._write, self._fsync, self._free = write, fsync, free
        self._segment: Segment | None = None
        self.wrote_to = ""
        """The name of the file that was written to last."""

    def write(self, blocks: Sequence[bytes]) -> None:
        """Append blocks of whole lines, with one wait for the disk.

        Raises:
            OSError: none of them is acknowledged; the next call begins a new segment.
        """
        written = False
        try:
            if self._segment is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._keep_reserve()
                self._keep_bound()
                self._segment = Segment.create(self.folder, self.kind)
            else:
                self._keep_reserve()
            self._segment.append(b"".join(blocks), write=self._write, fsync=self._fsync)
            self.wrote_to = self._segment.path.name
            written = True
        finally:
            if not written:
                self.close()
        if self._segment.size >= self._max_bytes:
            self.close()

    def rotate(self) -> None:
        """Seal the segment if it is old enough."""
        if self._segment and time.monotonic() - self._segment.begun >= self._max_age_s:
            self.close()

    def close(self) -> None:
        """Seal the open segment, if there is one."""
        segment, self._segment = self._segment, None
        if segment is not None:
            segment.seal()

    def _keep_reserve(self) -> None:
        free = self._free(self.folder)
        if free < self._reserve_bytes:
            raise OSError(
                errno.ENOSPC,
                f"{free / 1e6:.0f} MB are free, {self._reserve_bytes / 1e6:.0f} MB are kept free",
                str(self.folder),
            )

    def _keep_bound(self) -> None:
        if self._max_held_bytes is None:
            return
        held = sum(_size(path) for path in self.folder.glob(f"*.{self.kind}.jsonl*"))
        if held >= self._max_held_bytes:
            raise OSError(
                errno.EDQUOT,
                f"{held / 1e6:.0f} MB of {self.kind} wait for a night, at most "
                f"{self._max_held_bytes / 1e6:.0f} MB may (serving.inbox_mb)",
                str(self.folder),
            )


def _size(path: Path) -> int:
    """Bytes of a file; none where a night took it meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def recover(folder: Path) -> list[Path]:
    """Seal the segments that processes left which have died; those of the living stay.

    A last line that was cut off goes: it was never acknowledged.
    """
    sealed = []
    for path in sorted(folder.glob(f"{PREFIX}*.jsonl{OPEN}")):
        try:
            fd = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            continue
        try:
            if locks.lock(fd, path):
                done = _seal(path, _whole_lines(fd))
                sealed += [done] if done else []
        finally:
            os.close(fd)
    return sealed


def being_written(folder: Path) -> list[Path]:
    """The segments that a living process writes to."""
    found = []
    for path in sorted(folder.glob(f"{PREFIX}*.jsonl{OPEN}")):
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            fd = file.fileno()
            if not locks.lock(fd, path) and locks.is_at(fd, path):
                found.append(path)
    return found


def _seal(path: Path, size: int) -> Path | None:
    if size == 0:
        path.unlink()
        return None
    if path.stat().st_size != size:
        os.truncate(path, size)
    sealed = path.with_name(path.name.removesuffix(OPEN))
    path.rename(sealed)
    _sync_folder(path.parent)
    return sealed


def _whole_lines(fd: int) -> int:
    """Bytes up to the end of the last whole line."""
    with os.fdopen(os.dup(fd), "rb") as file:
        return file.read().rfind(b"\n") + 1


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
