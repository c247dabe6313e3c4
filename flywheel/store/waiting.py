"""Waiting in line for the warehouse: how long, and that it is said.

One process writes at a time. A night of one use case finds the warehouse held by another's for as
long as one step writes, and waits for it; a command that a person typed gives up soon. Who came
first has it first (`flywheel.files.waiting_line`): who finds others in line stands behind them.
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
from flywheel.files import waiting_line
from flywheel.files.waiting_line import Place

log = logging.getLogger(__name__)

LOCK_WAIT_S = 10.0
"""For a command, whose user waits."""
NIGHT_WAIT_S = 3_600.0
"""For a night: a first import of another use case, or a compaction, may take minutes."""
POLL_WAIT_S = 240.0
"""For a poll: the next one comes after five minutes."""
WAREHOUSE = "the warehouse"
_RETRY_S = 0.1
_TOLD_S = 30.0
_HOLDER = re.compile(r"\(PID (\d+)\)")

_patience: ContextVar[float] = ContextVar("patience", default=LOCK_WAIT_S)
_who: ContextVar[str] = ContextVar("who", default="a command")


@contextmanager
def patient(wait_s: float, *, who: str = "a command") -> Iterator[None]:
    """Wait for the warehouse for ``wait_s`` seconds, wherever it is opened in here.

    ``who`` is what others are told of who waits.
    """
    before, named = _patience.set(wait_s), _who.set(who)
    try:
        yield
    finally:
        _patience.reset(before)
        _who.reset(named)


def who_waits() -> str:
    """What others are told of who waits here."""
    return _who.get()


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
        self._place: Place | None = None

    def is_ones_turn(self) -> bool:
        """Whether nobody who came before waits; else this one stands in line from now on."""
        if self._place is None and not waiting_line.waiters(self.path.parent, WAREHOUSE):
            return True
        return not self._line().ahead()

    def again(self, refused: Exception | None) -> None:
        """Sleep before the next try; a long wait says who is waited for.

        ``refused`` is why the warehouse could not be opened; None: others were first.

        Raises:
            StoreBusy: the patience is at its end.
        """
        found = _HOLDER.search(str(refused))
        place = self._line()
        if found:
            place.held_by(int(found[1]))
        ahead = place.ahead()
        holder = _told(int(found[1]) if found else None, [one.pid for one in ahead])
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

    def over(self) -> None:
        """Leave the line."""
        if self._place is not None:
            self._place.leave()

    def _line(self) -> Place:
        if self._place is None:
            self._place = Place(self.path.parent, who=_who.get(), what=WAREHOUSE)
        return self._place


def _told(holder: int | None, ahead: list[int]) -> str:
    known = f" (PID {holder})" if holder else ""
    line = f", with {len(ahead)} in line before this one" if ahead else ""
    return f"another process{known}{line}"
