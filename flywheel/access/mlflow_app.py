"""MLflow's server behind a password, whose webhooks call the service and nobody else.

Without a password whoever reaches the server writes files wherever its user may: an experiment's
artifacts may lie anywhere. And a webhook on this machine, which MLflow allows or forbids as a
whole, reads any local port. A browser that was told the password once sends it with every request
to the server, also with those of other pages; MLflow lets pages of every port of this machine read
the answers, so that pages are told apart here.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from flywheel.access.mlflow_password import is_let_in

PASSWORD = "FLYWHEEL_MLFLOW_PASSWORD"
URLS = "FLYWHEEL_MLFLOW_WEBHOOK_URLS"
"""Variables by which the server's processes are told, as URLs with commas between."""
ORIGINS = "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"
"""MLflow's own variable: origins of other pages that may ask, with commas between."""
APP = "flywheel.access.mlflow_app:build"
OPEN = frozenset({"/health", "/version"})
CHECK = "_validate_webhook_url"
"""What MLflow asks of a URL, in the modules that make webhooks and that call them."""
_REALM = b'Basic realm="flywheel: user flywheel, password in mlflow-password of the home"'

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Message, Receive, Send], Awaitable[None]]


class Guard:
    """Lets through who sends the password, before their body is read: 401 for the others.

    Requests of pages are let through where the page is MLflow's own, or ``origins`` names it: 403.
    """

    def __init__(self, app: Asgi, password: str, origins: frozenset[str] = frozenset()) -> None:
        self._app, self._password, self._origins = app, password, origins

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or (self._is_own_page(scope) and self._may(scope)):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif self._is_own_page(scope):
            said = "User flywheel; the password is in mlflow-password, in flywheel's home.\n"
            await _refuse(send, 401, said, (b"www-authenticate", _REALM))
        else:
            said = f"A page of another origin asked. To let it: {ORIGINS}=ORIGIN make mlflow\n"
            await _refuse(send, 403, said)

    def _may(self, scope: Message) -> bool:
        if scope["type"] == "http" and scope["path"] in OPEN:
            return True
        sent = _values(scope, b"authorization")
        return len(sent) == 1 and is_let_in(sent[0], self._password)

    def _is_own_page(self, scope: Message) -> bool:
        """Whether no page asks (a browser names every other page that sends or reads), or ours."""
        hosts = {host.lower() for host in _values(scope, b"host")}
        return all(
            _authority(origin) in hosts or any(fnmatchcase(origin, one) for one in self._origins)
            for origin in _values(scope, b"origin")
        )


def _values(scope: Message, wanted: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name == wanted]


def _authority(origin: str) -> str | None:
    """Host and port of an origin, as a Host header has them; None where it has none."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None


async def _refuse(send: Send, status: int, said: str, *headers: tuple[bytes, bytes]) -> None:
    head = [(b"content-type", b"text/plain; charset=utf-8"), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": said.encode()})


def only_these(urls: frozenset[str]) -> Callable[[str], None]:
    """What MLflow asks of every webhook's URL, as it is made and before each call.

    It raises MLflow's own error for another one.
    """
    from mlflow.exceptions import MlflowException

    def check(url: str) -> None:
        if url not in urls:
            raise MlflowException.invalid_parameter_value(
                f"A webhook may call {', '.join(sorted(urls)) or 'nobody'} here. For a service "
                "elsewhere: make mlflow WEBHOOK_URLS=URL"
            )

    return check


def build() -> Asgi:
    """MLflow's app, guarded as the environment says; for uvicorn, in each of its processes.

    Raises:
        KeyError: no password was given.
        AttributeError: this MLflow checks webhooks elsewhere, so that they cannot be bounded.
    """
    import mlflow.store.model_registry.sqlalchemy_store as store
    import mlflow.webhooks.delivery as delivery
    from mlflow.server.fastapi_app import app

    password = os.environ[PASSWORD]
    check = only_these(_listed(URLS))
    for module in (store, delivery):
        getattr(module, CHECK)
        setattr(module, CHECK, check)
    return Guard(app, password, _listed(ORIGINS))


def _listed(variable: str) -> frozenset[str]:
    return frozenset(filter(None, map(str.strip, os.environ.get(variable, "").split(","))))


def guarded(original: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """How MLflow starts uvicorn, with `build` in the place of its own app."""

    def command(*args: Any, **kwargs: Any) -> list[str]:
        made = original(*args, **kwargs)
        return [*made[:-1], "--factory", APP]

    return command


def run(arguments: Sequence[str]) -> None:
    """``mlflow server`` with these arguments, guarded; it does not return."""
    import mlflow.server as server
    from mlflow.cli import cli

    server._build_uvicorn_command = guarded(server._build_uvicorn_command)
    cli(["server", *arguments])
