"""A service to talk to, with versions that need no model."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import uvicorn
from fastapi.testclient import TestClient

from flywheel.config import Home, UseCase
from flywheel.service.app import build_app
from flywheel.service.engine import Shelf
from flywheel.service.keys import Keys
from flywheel.service.service import Service
from tests.engines import OpenShelf, WordCounter

AT = datetime(2026, 1, 3, tzinfo=UTC)
READY_S = 20
HOST = "127.0.0.1"


def configured(use_case: UseCase, **serving: Any) -> UseCase:
    config = {"reserve_mb": 0, "poll_s": 0.01, **serving}
    return use_case.model_copy(
        update={"serving": use_case.serving.model_validate({**dict(use_case.serving), **config})}
    )


@contextlib.contextmanager
def serving(
    home: Home,
    use_case: UseCase,
    *,
    keys: str = "",
    shelf: OpenShelf | None = None,
    write: Callable[[int, bytes], int] = os.write,
    **config: Any,
) -> Iterator[TestClient]:
    """A client of a service that is ready."""
    case = configured(use_case, **config)
    shelf = shelf or OpenShelf({"1": WordCounter("1", case)})
    service = Service(case, home, shelf=shelf, write=write)
    app = build_app(service, Keys.parse(keys))
    with TestClient(app, f"http://{HOST}", raise_server_exceptions=False) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        yield client


@contextlib.contextmanager
def listening(home: Home, use_case: UseCase, shelf: Shelf | None = None) -> Iterator[str]:
    """The URL of a service that listens on a port; without a shelf, of the home's registry."""
    app = build_app(Service(configured(use_case), home, shelf=shelf), Keys.parse(""))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none", access_log=False))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, args=([taken],))
        thread.start()
        try:
            until(lambda: server.started)
            yield f"http://127.0.0.1:{taken.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def rows(home: Home, use_case: UseCase, kind: str) -> list[dict[str, Any]]:
    """What lies in the inbox."""
    paths = sorted(home.inbox(use_case.name).glob(f"*.{kind}.jsonl*"))
    return [json.loads(line) for path in paths for line in path.read_bytes().splitlines()]


class Disk:
    """Takes everything until it is full."""

    full = False

    def write(self, fd: int, block: bytes) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(fd, block)
