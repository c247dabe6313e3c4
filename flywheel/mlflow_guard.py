"""MLflow's server behind a password, whose webhooks call the service and nobody else.

Without a password whoever reaches the server reads and writes every file that its user may: an
experiment's artifacts may lie anywhere. And a webhook on this machine, which MLflow allows or
forbids as a whole, reads any local port.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from flywheel.mlflow_access import is_let_in

PASSWORD = "FLYWHEEL_MLFLOW_PASSWORD"
URLS = "FLYWHEEL_MLFLOW_WEBHOOK_URLS"
"""Variables by which the server's processes are told, as URLs with commas between."""
APP = "flywheel.mlflow_guard:build"
OPEN = frozenset({"/health", "/version"})
CHECK = "_validate_webhook_url"
"""What MLflow asks of a URL, in the modules that make webhooks and that call them."""
_REALM = b'Basic realm="flywheel: user flywheel, password in mlflow-password of the home"'

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Message, Receive, Send], Awaitable[None]]


class Guard:
    """Lets through who sends the password; 401 for the others, before their body is read."""

    def __init__(self, app: Asgi, password: str) -> None:
        self._app, self._password = app, password

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._may(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"www-authenticate", _REALM), (b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            said = b"User flywheel; the password is in mlflow-password, in flywheel's home.\n"
            await send({"type": "http.response.body", "body": said})

    def _may(self, scope: Message) -> bool:
        if scope["type"] == "http" and scope["path"] in OPEN:
            return True
        sent = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(sent) == 1 and is_let_in(sent[0].decode("latin-1"), self._password)


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
    check = only_these(frozenset(filter(None, os.environ.get(URLS, "").split(","))))
    for module in (store, delivery):
        getattr(module, CHECK)
        setattr(module, CHECK, check)
    return Guard(app, password)


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
