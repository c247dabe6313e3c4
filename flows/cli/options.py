"""Options that many commands share."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

from flywheel.config import Home, use_case_path
from flywheel.home.environment import open_home

_Command = TypeVar("_Command", bound=Callable[..., Any])


def named(_ctx: click.Context, _option: click.Parameter, value: str | None) -> str:
    """The use case as it was named, or the one there is; the home is not touched before."""
    return str(use_case_path(value))


use_case_option = click.option(
    "-u",
    "--use-case",
    callback=named,
    help="A name from usecases/, or the path of a YAML file; not needed where there is only one. "
    "Of several, product-reviews unless named.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
verbose_option = click.option(
    "-v", "--verbose", is_flag=True, help="Print the statistics and every rule, too."
)


_COLUMNS = (
    click.option(
        "--text", multiple=True, help="The column of the texts; given twice, both joined."
    ),
    click.option("--label", help="The column of the labels, or of what is to be written."),
    click.option(
        "--customer", help="The column of whom a row is; - for none. forget finds them by it."
    ),
    click.option("--time", help="The column of when it was labeled or said; - for none."),
    click.option("--rater", help="The column of who labeled it; - for none."),
    click.option(
        "--group",
        help="What stays on one side of the split; by default the customer; - for none.",
    ),
    click.option("--separator", help="What stands between the cells; found by itself."),
    click.option(
        "--encoding", help="Of the file, where it is neither UTF-8 nor UTF-16: cp1250, cp1251, …"
    ),
)


def columns_options(command: _Command) -> _Command:
    """Let a command be told the columns of a labeled table; one that is not named is found."""
    for option in reversed(_COLUMNS):
        command = option(command)
    return command


def in_home(command: click.Command) -> click.Command:
    """Let a command begin by opening the home: ``--help`` and wrong usage leave it alone.

    So does a dry run, which writes nothing.
    """
    body: Callable[..., Any] | None = command.callback
    assert body is not None

    @wraps(body)
    def opened(*args: Any, **options: Any) -> Any:
        if not options.get("dry_run"):
            open_home(Home())
        return body(*args, **options)

    command.callback = opened
    return command
