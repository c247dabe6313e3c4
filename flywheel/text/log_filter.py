"""Log lines without secrets of addresses and commands to terminals, wherever they go."""

from __future__ import annotations

import logging
from typing import Any

from flywheel.text.normalize import printable
from flywheel.urls import without_secrets


class _Record(logging.LogRecord):
    """What every handler formats: ours, Prefect's, MLflow's."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        if self.exc_info and self.exc_info[0] is not None:
            # formatters take it from here instead of the exception
            self.exc_text = _plain(logging.Formatter().formatException(self.exc_info))

    def getMessage(self) -> str:
        return _plain(super().getMessage())


def _plain(said: str) -> str:
    return printable(without_secrets(said))


def hide_secrets() -> None:
    """Let no log line of this process, and no traceback in it, show a password or a signature.

    Nor obeys a terminal what a stranger wrote, whichever handler prints it: Prefect's prints what
    nights log.
    """
    logging.setLogRecordFactory(_Record)
