"""Around every request: who it is of, bounded bodies, slow clients, security headers, its time."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from flywheel.serving.http.request_origin import Refused, Strangers
from flywheel.serving.prometheus import Metrics

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

BODY_S = 10.0
"""How long a client may take to send its body."""

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


class Guards:
    """ASGI middleware; ``paths`` are those that are counted by name."""

    def __init__(
        self,
        app: App,
        *,
        strangers: Strangers,
        metrics: Metrics,
        paths: frozenset[str],
    ) -> None:
        self._app = app
        self._strangers = strangers
        self._metrics = metrics
        self._paths = paths

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), *_HEADERS]
            await send(message)

        try:
            limit = self._strangers.admit(scope["method"], scope["path"], _headers(scope))
            body = await _body(scope, receive, limit) if limit else b""
            await self._app(scope, _replay(body, receive), sending)
        except Refused as refused:
            why = "key" if refused.status == 401 else str(refused.status)
            self._metrics.refused.labels(why).inc()
            await _refuse(refused, sending)
        finally:
            path = scope["path"] if scope["path"] in self._paths else "other"
            took_s = time.perf_counter() - begun
            self._metrics.request_s.labels(path, str(status)).observe(took_s)


def _headers(scope: MutableMapping[str, Any]) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


async def _body(scope: MutableMapping[str, Any], receive: Receive, limit: int) -> bytes:
    """The whole body, of at most ``limit`` bytes.

    Raises:
        Refused: it is too large (413), comes too slowly (408), or breaks off (400).
    """
    too_large = Refused(413, f"The body may have at most {limit} bytes.")
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and int(value) > limit:
            raise too_large
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_S):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise Refused(400, "The body broke off.")
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > limit:
                    raise too_large
                if not message.get("more_body"):
                    return b"".join(parts)
    except TimeoutError as error:
        raise Refused(408, f"The body took longer than {BODY_S:g} s.") from error


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body in one piece, and after it what the server says (that the client is gone)."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _refuse(refused: Refused, send: Send) -> None:
    body = json.dumps({"detail": refused.detail}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        # what is left of the body will not be read
        (b"connection", b"close"),
        *((name.encode(), value.encode()) for name, value in refused.headers.items()),
    ]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
