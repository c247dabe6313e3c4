"""The one place that prints: what strangers wrote never reaches the terminal as a command.

A control character in an identifier could move the cursor, hide lines or rename the window, and a
line break forge a line of ours.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import click

from flywheel.text.normalize import printable
from flywheel.urls import without_secrets


def echo(said: str | Sequence[str], *, err: bool = False) -> None:
    """Print a text, or lines for people: each stays one line, and shows no secret of a URL."""
    if not isinstance(said, str):
        said = "\n".join(without_secrets(line).replace("\n", "\\n") for line in said)
    click.echo(printable(said), err=err)


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def log_to_stderr() -> None:
    """Let what is logged, tracebacks included, be printed in the same way."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Plain("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
