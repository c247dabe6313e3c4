"""A Label Studio export: each finished annotation is a label by its annotator.

``location`` is the file, anywhere that fsspec reaches: JSON, JSON-MIN or CSV. The text is the
task's ``data.text``, the field that the question is about, or its only string; of several the
source's ``fields`` name one, also within others (``text: ticket.body``). Where more than one
question is asked, ``fields`` name that one too (``value: topic``). Drafts, predictions, skipped
and rejected annotations are no labels; where several choices are ticked the row is set apart.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flywheel.config import SourceConfig
from flywheel.sources.annotations import Annotation, pulled
from flywheel.sources.base import Pulled
from flywheel.sources.exports import entries, require_known
from flywheel.text.label_spelling import match

_EXPECTED = "is a task with data and annotations (Export, JSON), nor a row of JSON-MIN or CSV"
_MIN = frozenset({
    "id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement",
})  # fmt: skip
"""What JSON-MIN and CSV say besides a task's data and its answers."""


def read(source: SourceConfig, watermark: str | None, labels: Sequence[str]) -> Pulled:
    """Finished annotations, where the file changed since.

    Raises:
        ValueError: it is no export of annotations, or the text of its tasks cannot be told.
    """
    tasks, mark, before = entries(source, watermark, labels)
    whole = [one for one in tasks if isinstance(one.get("data"), dict)]
    flat = [one for one in tasks if "annotation_id" in one or "lead_time" in one]
    require_known(len(whole) + len(flat), tasks, _EXPECTED)
    found = [one for task in whole for one in _annotations(task, labels)]
    about = frozenset(name for one in found for name in one.about)
    blank = [Annotation(task.get("id"), None, None, "", task["data"], {}, about) for task in whole]
    found += _flat(flat, source, labels)
    return pulled(found, source, mark, before, labels, blank)


def _annotations(task: Mapping[str, Any], labels: Sequence[str]) -> Iterator[Annotation]:
    data = task["data"]
    for one in task.get("annotations") or task.get("completions") or []:
        if not isinstance(one, dict) or one.get("was_cancelled") or _is_rejected(one):
            continue
        results = [r for r in one.get("result") or [] if isinstance(r, dict)]
        answers: dict[str, tuple[str, ...]] = {}
        for result in results:
            if chosen := _chosen(result.get("value"), labels):
                name = str(result.get("from_name") or "")
                answers[name] = (*answers.get(name, ()), *chosen)
        if answers:
            yield Annotation(
                task.get("id"),
                one.get("id"),
                one.get("completed_by"),
                str(one.get("updated_at") or one.get("created_at") or ""),
                data,
                answers,
                frozenset(str(r.get("to_name")) for r in results),
                (task.get("meta") or {}).get("group_id") or data.get("group_id"),
            )


def _is_rejected(annotation: Mapping[str, Any]) -> bool:
    """Whether the last review of it says no."""
    reviews = [one for one in annotation.get("reviews") or [] if isinstance(one, dict)]
    return bool(reviews) and reviews[-1].get("accepted") is False


def _chosen(value: Any, labels: Sequence[str]) -> tuple[str, ...]:
    """What was ticked, or written where no labels are given."""
    if isinstance(value, str):
        return (value,) if value.strip() else ()
    if not isinstance(value, dict):
        return ()
    if isinstance(value.get("taxonomy"), list):
        return tuple(_leaf(path, labels) for path in value["taxonomy"] if path)
    found = value.get("choices") or ([] if labels else value.get("text")) or []
    return tuple(str(one) for one in ([found] if isinstance(found, str) else found))


def _leaf(path: Any, labels: Sequence[str]) -> str:
    """A path of a taxonomy as the label that it is: the whole path, else its last part."""
    parts = [str(one) for one in path] if isinstance(path, list) else [str(path)]
    written = (mark.join(parts) for mark in (" / ", "/", " > ", ": "))
    known = (match(one, tuple(labels)) for one in written)
    return next((one for one in known if one), parts[-1])


def _flat(
    rows: Sequence[Mapping[str, Any]], source: SourceConfig, labels: Sequence[str]
) -> Iterator[Annotation]:
    """Annotations of JSON-MIN and of CSV, where data and answers stand side by side.

    Raises:
        ValueError: which column holds the answers cannot be told.
    """
    if not rows:
        return
    columns = [name for name in dict.fromkeys(n for row in rows for n in row) if name not in _MIN]
    named = source.fields.get("value")
    asked = [named] if named else [c for c in columns if _holds_answers(rows, c, labels)]
    if len(asked) != 1 or asked[0] not in columns:
        raise ValueError(
            "this is JSON-MIN or CSV of Label Studio, and the column of the labels cannot be told "
            f"among {', '.join(columns)}; name it in the source's fields: {{value: NAME}}"
        )
    for row in rows:
        answer = row.get(asked[0])
        chosen = tuple(
            choice
            for one in (answer if isinstance(answer, list) else [answer])
            for choice in _chosen(_unfolded(one), labels)
        )
        if chosen:
            yield Annotation(
                row.get("id"),
                row.get("annotation_id"),
                row.get("annotator"),
                str(row.get("updated_at") or row.get("created_at") or ""),
                {name: row.get(name) for name in columns if name != asked[0]},
                {asked[0]: chosen},
                group=row.get("group_id"),
            )


def _unfolded(cell: Any) -> Any:
    """A cell that holds JSON, as CSV has several choices, as what it means."""
    if isinstance(cell, str) and cell[:1] in ("{", "["):
        try:
            found = json.loads(cell)
        except (ValueError, RecursionError):
            return cell
        return {"choices": found} if isinstance(found, list) else found
    return cell


def _holds_answers(rows: Sequence[Mapping[str, Any]], column: str, labels: Sequence[str]) -> bool:
    said = [choice for row in rows for choice in _chosen(_unfolded(row.get(column)), labels)]
    return bool(said) and all(match(one, tuple(labels)) for one in said)
