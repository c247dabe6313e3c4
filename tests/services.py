"""A service to talk to, with versions that need no model."""

from __future__ import annotations

import base64
import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn
from fastapi.testclient import TestClient

from flywheel.config import Home, UseCase
from flywheel.serving.http.app import build_app
from flywheel.serving.http.auth import Keys
from flywheel.serving.http.server import settings
from flywheel.serving.http.webhook import Hook
from flywheel.serving.models.engine import ModelSource
from flywheel.serving.service import Service
from tests.engines import OpenModelSource, WordCounter

AT = datetime(2026, 1, 3, tzinfo=UTC)
READY_S, START_S = 20, 120
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
    hook: str = "",
    shelf: OpenModelSource | None = None,
    write: Callable[[int, bytes], int] = os.write,
    file: Path | None = None,
    **config: Any,
) -> Iterator[TestClient]:
    """A client of a service that is ready."""
    case = configured(use_case, **config)
    shelf = shelf or OpenModelSource({"1": WordCounter("1", case)})
    service = Service(case, home, file=file, shelf=shelf, write=write)
    app = build_app(service, Keys.parse(keys), Hook.parse(hook))
    with TestClient(app, f"http://{HOST}", raise_server_exceptions=False) as client:
        until(lambda: client.get("/readyz").status_code == 200)
        yield client


@contextlib.contextmanager
def listening(
    home: Home,
    use_case: UseCase,
    shelf: ModelSource | None = None,
    *,
    hook: str = "",
    keys: str = "",
    connections: int = 64,
    **config: Any,
) -> Iterator[str]:
    """The URL of a service that listens on a port; without a shelf, of the home's registry."""
    service = Service(configured(use_case, **config), home, shelf=shelf)
    app = build_app(service, Keys.parse(keys), Hook.parse(hook))
    server = uvicorn.Server(settings(app, connections=connections))
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


@contextlib.contextmanager
def mlflow_serving(home: Home, log: Path) -> Iterator[str]:
    """The URL of an MLflow server for a home, which may call webhooks on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    key = base64.urlsafe_b64encode(os.urandom(32)).decode()
    command = ["-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    stores = ["--backend-store-uri", home.mlflow_uri, "--workers", "1"]
    stores += ["--artifacts-destination", str(home.mlflow_artifacts)]
    with log.open("w") as out:
        server = subprocess.Popen(
            [sys.executable, *command, *stores],
            env={
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
                "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
                "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": key,
            },
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + START_S
        while not answers(f"{url}/health"):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield url
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


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
