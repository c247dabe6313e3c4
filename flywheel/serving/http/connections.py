"""Connections: never more than there are files for, and none that keeps the service waiting.

Whoever opens a connection and sends no whole head of a request holds a file of this process. Such
a connection is closed after `HEAD_S`, and before that where there are too many: the one that has
waited longest makes room, so that whoever sends a request at once is answered.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from collections import OrderedDict
from typing import Any
from weakref import WeakKeyDictionary

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 10.0
"""How long a client may take to send the head of a request."""
MOST = 2_048
RESERVED_FILES = 512
"""For the model, the inbox, the registry, and for connections that are being accepted."""
BACKLOG = 100
"""Connections that are accepted in one go, before any of them is counted."""
SAME_LINE_S = 60.0
_LINES = 1_000
"""Lines that are remembered."""


def limit() -> int:
    """How many connections there may be: at most `MOST`, and fewer than this process has files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST + RESERVED_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return MOST
    return max(1, min(MOST, soft - RESERVED_FILES))


class Waiting:
    """The connections of one server that sent no whole head yet, the oldest first."""

    def __init__(self) -> None:
        self._connections: OrderedDict[Bounded, None] = OrderedDict()

    def add(self, connection: Bounded) -> None:
        self._connections[connection] = None

    def discard(self, connection: Bounded) -> None:
        self._connections.pop(connection, None)

    def oldest(self) -> Bounded | None:
        return next(iter(self._connections), None)


_waiting: WeakKeyDictionary[Any, Waiting] = WeakKeyDictionary()
"""By the state of the server."""


class Bounded(H11Protocol):
    """A connection that waits for a head no longer than `HEAD_S`, and makes room for others."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._deadline: asyncio.TimerHandle | None = None
        self._others = _waiting.setdefault(self.server_state, Waiting())
        self._wait()
        # uvicorn refuses requests from that number on
        if self.limit_concurrency and len(self.connections) >= self.limit_concurrency:
            oldest = self._others.oldest()
            assert oldest is not None, "this one waits"
            oldest.drop()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._answers():
            self._rest()
        elif self._deadline is None:
            self._wait()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # uvicorn closes it when nothing comes; until then it is the next to make room
        if not self._answers() and not self.transport.is_closing():
            self._others.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        super().connection_lost(exc)

    def drop(self) -> None:
        """Close it at once, whatever it was to send."""
        self._rest()
        # counted no more from now on, though it is closed a moment later
        self.connections.discard(self)
        self.transport.abort()

    def _answers(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        self._others.add(self)
        self._deadline = self.loop.call_later(HEAD_S, self._late)

    def _rest(self) -> None:
        self._others.discard(self)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        self._deadline = None
        if not self._answers():
            self.drop()


class Once(logging.Filter):
    """Lets a line that says the same as one before through once in `SAME_LINE_S`.

    Whoever may send a request could fill the disk by what is said of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, int, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this line is to be written."""
        what, now = (record.pathname, record.lineno, str(record.msg)), time.monotonic()
        if now - self._said.get(what, -SAME_LINE_S) < SAME_LINE_S:
            return False
        if len(self._said) >= _LINES:
            self._said.clear()
        self._said[what] = now
        return True
