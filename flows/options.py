"""Options that many commands share."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from flywheel.config import Home, use_case_path
from flywheel.environment import open_home


def _named(_ctx: click.Context, _option: click.Parameter, value: str | None) -> str:
    """The use case as it was named, or the one there is; the home is not touched before."""
    return str(use_case_path(value))


use_case_option = click.option(
    "-u",
    "--use-case",
    callback=_named,
    help="A name from usecases/, or the path of a YAML file; not needed where there is only one. "
    "Of several, product-reviews unless named.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def in_home(command: click.Command) -> click.Command:
    """Let a command begin by opening the home: ``--help`` and wrong usage leave it alone."""
    body: Callable[..., Any] | None = command.callback
    assert body is not None

    @wraps(body)
    def opened(*args: Any, **options: Any) -> Any:
        open_home(Home())
        return body(*args, **options)

    command.callback = opened
    return command
