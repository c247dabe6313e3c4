"""Call tasks as the functions that they are: no run, no server, no retries.

For whoever lives thousands of nights, such as ``flywheel replay``: what Prefect keeps of a run
takes longer there than the night itself. The order of a night stays that of its flow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from unittest import mock

from prefect import Task

_on: ContextVar[bool] = ContextVar("plain_calls", default=False)


def are_on() -> bool:
    """Whether tasks are called plainly here."""
    return _on.get()


@contextmanager
def called_plainly(instead: Mapping[str, Callable[..., Any]]) -> Iterator[None]:
    """Call each task's function; of a task that ``instead`` names, the function given there."""

    def call(task: Task[..., Any], *arguments: Any, **named: Any) -> Any:
        return instead.get(task.name, task.fn)(*arguments, **named)

    before = _on.set(True)
    try:
        with mock.patch.object(Task, "__call__", call):
            yield
    finally:
        _on.reset(before)
