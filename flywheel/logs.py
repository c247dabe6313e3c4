"""Log lines without the secrets of addresses, whoever logs them and wherever they go."""

from __future__ import annotations

import logging
from typing import Any

from flywheel.urls import without_secrets


class _Record(logging.LogRecord):
    """What every handler formats: ours, Prefect's, MLflow's."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        if self.exc_info and self.exc_info[0] is not None:
            # formatters take it from here instead of the exception
            self.exc_text = without_secrets(logging.Formatter().formatException(self.exc_info))

    def getMessage(self) -> str:
        return without_secrets(super().getMessage())


def hide_secrets() -> None:
    """Let no log line of this process, and no traceback in it, show a password or a signature."""
    logging.setLogRecordFactory(_Record)
