"""Waiting in line for the warehouse: how long, and that it is said.

One process writes at a time. A night of one use case finds the warehouse held by another's for as
long as one step writes, and waits for it; a command that a person typed gives up soon.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from flywheel.errors import StoreBusy

log = logging.getLogger(__name__)

LOCK_WAIT_S = 10.0
"""For a command, whose user waits."""
NIGHT_WAIT_S = 3_600.0
"""For a night: a first import of another use case, or a compaction, may take minutes."""
POLL_WAIT_S = 240.0
"""For a poll: the next one comes after five minutes."""
_RETRY_S = 0.1
_TOLD_S = 30.0
_HOLDER = re.compile(r"\(PID (\d+)\)")

_patience: ContextVar[float] = ContextVar("patience", default=LOCK_WAIT_S)


@contextmanager
def patient(wait_s: float) -> Iterator[None]:
    """Wait for the warehouse for ``wait_s`` seconds, wherever it is opened in here."""
    before = _patience.set(wait_s)
    try:
        yield
    finally:
        _patience.reset(before)


def patience_s() -> float:
    """For how many seconds the warehouse is waited for here."""
    return _patience.get()


class Waiting:
    """One wait for the file at ``path``."""

    def __init__(self, path: Path, wait_s: float | None) -> None:
        self.path = path
        self.wait_s = patience_s() if wait_s is None else wait_s
        self.begun = time.monotonic()
        self.told = self.begun

    def again(self, refused: Exception) -> None:
        """Sleep before the next try; a long wait says who is waited for.

        Raises:
            StoreBusy: the patience is at its end.
        """
        found = _HOLDER.search(str(refused))
        holder = f"another process{f' (PID {found[1]})' if found else ''}"
        now = time.monotonic()
        if now - self.begun >= self.wait_s:
            raise StoreBusy(
                f"{self.path} was held by {holder} for {self.wait_s:g} s. Nothing was read or "
                "written; try again once that process has ended.",
                path=str(self.path),
            ) from refused
        if now - self.told >= _TOLD_S:
            self.told = now
            log.info(
                "waiting for the warehouse, which %s holds: %.0f s of %.0f s at most",
                holder,
                now - self.begun,
                self.wait_s,
            )
        time.sleep(_RETRY_S)
