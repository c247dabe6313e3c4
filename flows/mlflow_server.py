"""``python -m flows.mlflow_server``: ``mlflow server`` behind the home's password.

It takes what ``mlflow server`` takes, but is always served by uvicorn.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from flywheel.config import Home
from flywheel.mlflow_access import FILE, USER, password
from flywheel.mlflow_guard import PASSWORD

APP = "flywheel.mlflow_guard:build"


def guarded(original: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """How MLflow starts uvicorn, with our app in the place of its own."""

    def command(*args: Any, **kwargs: Any) -> list[str]:
        made = original(*args, **kwargs)
        return [*made[:-1], "--factory", APP]

    return command


def main() -> None:
    import mlflow.server as server
    from mlflow.cli import cli

    home = Home()
    os.environ[PASSWORD] = password(home.root)
    server._build_uvicorn_command = guarded(server._build_uvicorn_command)
    print(f"user {USER}, password in {home.root / FILE}", file=sys.stderr)
    cli(["server", *sys.argv[1:]])


if __name__ == "__main__":
    main()
