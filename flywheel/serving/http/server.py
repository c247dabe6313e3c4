"""The process: a socket, uvicorn, and logs without what customers wrote."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn

from flywheel.config import Home, UseCase
from flywheel.errors import ConfigError
from flywheel.serving.http.app import build_app
from flywheel.serving.http.auth import VARIABLE, Keys
from flywheel.serving.http.connections import BACKLOG, Bounded, Once, limit
from flywheel.serving.http.webhook import VARIABLE as HOOK_VARIABLE
from flywheel.serving.http.webhook import Hook
from flywheel.serving.service import Service

KEEP_ALIVE_S = 30
STOP_S = 30
MAX_HEAD_BYTES = 16_384
LOGGERS = ("uvicorn.error", "asyncio", "flywheel.serving.group_commit")
"""What requests make write lines: broken ones, too many, and rows that the disk does not take."""


def run(
    use_case: UseCase,
    home: Home,
    *,
    host: str,
    port: int,
    listening: Callable[[str], None],
    file: Path | None = None,
) -> None:
    """Serve until a signal ends it; ``listening`` is told the URL, ``file`` holds the use case.

    Raises:
        ConfigError: others than this machine could ask, and there are no keys; the webhook's
            secret is too short; or the address is taken.
    """
    hook = Hook.parse(os.environ.get(HOOK_VARIABLE, ""))
    keys = Keys.parse(os.environ.get(VARIABLE, ""))
    if not keys.callers and not _is_here(host):
        raise ConfigError(
            f"{host} can be reached from other machines, and {VARIABLE} holds no keys. Nothing is "
            f"served; set {VARIABLE}=KEY or serve on 127.0.0.1."
        )
    taken = _socket(host, port)
    quieten()
    app = build_app(Service(use_case, home, file=file), keys, hook)
    server = uvicorn.Server(settings(app, connections=limit()))
    listening(f"http://{host}:{taken.getsockname()[1]}")
    server.run(sockets=[taken])


def quieten() -> None:
    """Let lines that any request may cause quote nobody, and be written once a minute."""
    once = Once()
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.addFilter(_without_messages)
        logger.addFilter(once)


def settings(app: Any, *, connections: int) -> uvicorn.Config:
    """How uvicorn serves an ASGI application, with at most so many connections at once."""
    return uvicorn.Config(
        app,
        http=Bounded,
        log_config=None,
        access_log=False,
        server_header=False,
        # nobody is believed who says whom a request came from
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_S,
        # from this number on it would refuse requests, where `Bounded` makes room
        limit_concurrency=connections + 1,
        backlog=BACKLOG,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        ws="none",
    )


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _socket(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends small packets at once only where the protocol is named, else 40 ms later
    taken = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((host, port))
    except OSError as error:
        taken.close()
        raise ConfigError(f"Cannot listen on {host} port {port}: {error.strerror}.") from error
    return taken


def _without_messages(record: logging.LogRecord) -> bool:
    """Keep what kind of error it was and where, not its message, which may quote a customer."""
    if record.exc_info and record.exc_info[0] is not None:
        kind, _, trace = record.exc_info
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        record.msg, record.args = kind.__name__, ()
        if trace is not None:
            file = Path(trace.tb_frame.f_code.co_filename).name
            record.msg += f" in {file} line {trace.tb_lineno}"
        record.exc_info = record.exc_text = None
    return True
