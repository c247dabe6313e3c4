"""The one place that prints: what strangers wrote never reaches the terminal as a command.

A control character in an identifier could move the cursor, hide lines or rename the window, and a
line break forge a line of ours.
"""

from __future__ import annotations

import itertools
import json
import logging
import sys
from collections.abc import Sequence

import click

from flows.cli import colors
from flywheel.text.normalize import printable
from flywheel.urls import without_secrets


def echo(said: str | Sequence[str], *, err: bool = False) -> None:
    """Print a text, or lines for people: each stays one line, and shows no secret of a URL.

    Lines, and messages to stderr, are colored where a terminal shows them; a text on stdout is not.
    """
    for_people = err or not isinstance(said, str)
    if not isinstance(said, str):
        said = "\n".join(without_secrets(line).replace("\n", "\\n") for line in said)
    shown = printable(said)
    if for_people and colors.wanted(sys.stderr if err else sys.stdout):
        shown = "\n".join(colors.paint(line) for line in shown.split("\n"))
    click.echo(shown, err=err)


def wants_json() -> bool:
    """Whether this process was asked for a JSON document."""
    return "--json" in itertools.takewhile(lambda word: word != "--", sys.argv[1:])


def fail(kind: str, message: str) -> None:
    """Say on stderr why a command failed: as a paragraph, or with ``--json`` as one line of JSON.

    It is the last line: ``{"error": {"type": kind, "message": message}}``.
    """
    if wants_json():
        told = {"error": {"type": kind, "message": without_secrets(message)}}
        click.echo(json.dumps(told), err=True)
    else:
        echo(f"flywheel: {message}", err=True)


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def log_to_stderr() -> None:
    """Let what is logged, tracebacks included, be printed in the same way."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Plain("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
