"""A queue that was labeled in Label Studio, as its export has it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from flywheel.errors import DataError

BY = "annotator"
"""In what is known of a line: who labeled it, where that was not one person alone."""


def annotated(content: str) -> Iterator[tuple[int, dict[str, Any], str]]:
    """Each annotation of each task: its number, what is known of it, and the label; empty if none.

    Raises:
        DataError: it is no JSON.
    """
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError("The file is neither CSV nor a Label Studio export (JSON).") from error
    tasks = [task for task in found if isinstance(task, dict)] if isinstance(found, list) else []
    several = len({_annotator(one) for task in tasks for one in _finished(task)}) > 1
    for number, task in enumerate(tasks, start=1):
        item: dict[str, Any] = {**(task.get("meta") or {}), **(task.get("data") or {})}
        finished = _finished(task)
        for one in finished:
            by = {BY: _annotator(one)} if several else {}
            # several choices are no label, and are named as what they are
            yield number, item | by, ", ".join(dict.fromkeys(_choices(one)))
        if not finished:
            yield number, item, ""


def _finished(task: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The annotations of a task that people did not skip and that say something."""
    every = [one for one in task.get("annotations") or [] if isinstance(one, dict)]
    return [one for one in every if not one.get("was_cancelled") and _choices(one)]


def _choices(annotation: Mapping[str, Any]) -> list[str]:
    results = annotation.get("result") or []
    return [str(choice) for one in results for choice in _given(one.get("value") or {})]


def _given(value: Mapping[str, Any]) -> list[str]:
    """The choices of a result, or the texts of its text area."""
    if value.get("choices"):
        return list(value["choices"])
    text = value.get("text") or []
    return ["\n".join([text] if isinstance(text, str) else text)] if text else []


def _annotator(annotation: Mapping[str, Any]) -> str:
    by = annotation.get("completed_by")
    return str(by.get("email") or by.get("id")) if isinstance(by, dict) else str(by)
