"""A Label Studio export (JSON): each finished annotation is a label by its annotator.

``location`` is the file, anywhere that fsspec reaches. The text is the task's ``data.text``, or its
only string; the label the first choice. Cancelled annotations are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import fsspec

from flywheel.config import SourceConfig
from flywheel.sources import rows_of
from flywheel.sources.pulled import Pulled


def read(source: SourceConfig, watermark: str | None) -> Pulled:
    """Annotations made after the watermark, a time."""
    with fsspec.open(source.location, "rb") as file:
        tasks = list(rows_of(json.load(file)))
    rows = [row for task in tasks for row in _annotations(task)]
    new = [row for row in rows if not watermark or row["given_at"] > watermark]
    newest = max((row["given_at"] for row in rows), default=watermark)
    return Pulled(tuple(new), watermark=newest)


def _annotations(task: dict[str, Any]) -> Iterator[dict[str, Any]]:
    data = task.get("data") or {}
    strings = [value for value in data.values() if isinstance(value, str)]
    text = data.get("text") or (strings[0] if len(strings) == 1 else None)
    for one in task.get("annotations") or []:
        choices = [
            choice
            for result in one.get("result") or []
            for choice in (result.get("value") or {}).get("choices") or []
        ]
        if one.get("was_cancelled") or not choices:
            continue
        by = one.get("completed_by")
        rater = by.get("email") or by.get("id") if isinstance(by, dict) else by
        row = {
            "feedback_id": f"label-studio-{task.get('id')}-{one.get('id')}",
            "kind": "label",
            "value": choices[0],
            "text": text,
            "rater_id": f"annotator-{rater}",
            "given_at": one.get("updated_at") or one.get("created_at") or "",
        }
        group = (task.get("meta") or {}).get("group_id") or data.get("group_id")
        yield row | {"group_id": group} if group else row
