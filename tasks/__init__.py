"""The effects of a night, named with verbs: what is retried, timed out, locked, shown."""

from __future__ import annotations

from typing import Any

from flywheel.errors import TransientError


def retry_if_transient(task: Any, task_run: Any, state: Any) -> bool:
    """Retry only what trying again can mend."""
    return isinstance(state.result(raise_on_failure=False), TransientError)
