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
from dataclasses import dataclass, field
from typing import Any

from flywheel.config import SourceConfig
from flywheel.sources.base import Pulled, key
from flywheel.sources.exports import entries, fields, require_known
from flywheel.sources.messages import at
from flywheel.sources.ratings import REFUSED
from flywheel.text.label_spelling import match

_EXPECTED = "is a task with data and annotations (Export, JSON), nor a row of JSON-MIN or CSV"
_MIN = frozenset({
    "id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement",
})  # fmt: skip
"""What JSON-MIN and CSV say besides a task's data and its answers."""


@dataclass(frozen=True)
class _Annotation:
    """What one person answered to one task. ``answers``: question → what was chosen."""

    task: object
    number: object
    by: object
    given_at: str
    data: Mapping[str, Any] = field(repr=False)
    answers: Mapping[str, tuple[str, ...]] = field(repr=False)
    about: frozenset[str] = frozenset()
    group: object = None


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
    found += _flat(flat, source, labels)
    asked = _question(found, source, labels)
    rows = [row for one in found if (row := _row(one, source, asked))]
    texts = [row for row in rows if row.get("text")]
    if rows and not texts:
        name = fields([one.data for one in found])
        raise ValueError(
            f"the text of its tasks cannot be told among {name}; name it in the source's "
            "fields: {text: NAME}"
        )
    new = [row for row in rows if row["given_at"] > before or not before]
    consumed = frozenset({"text", "value"}.intersection(source.fields))
    return Pulled(tuple(new), (), mark, _notes(found, asked), consumed)


def _annotations(task: Mapping[str, Any], labels: Sequence[str]) -> Iterator[_Annotation]:
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
            yield _Annotation(
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
) -> Iterator[_Annotation]:
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
            yield _Annotation(
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


def _question(
    found: Sequence[_Annotation], source: SourceConfig, labels: Sequence[str]
) -> str | None:
    """The question whose answers are the labels; None where it cannot be told."""
    if "value" in source.fields:
        return source.fields["value"]
    answers: dict[str, set[str]] = {}
    for one in found:
        for name, chosen in one.answers.items():
            answers.setdefault(name, set()).update(chosen)
    if len(answers) > 1:
        known = tuple(labels)
        answers = {n: s for n, s in answers.items() if known and all(match(a, known) for a in s)}
    return next(iter(answers)) if len(answers) == 1 else None


def _row(one: _Annotation, source: SourceConfig, asked: str | None) -> dict[str, Any] | None:
    """The annotation as feedback; None where it does not answer the question."""
    if asked is not None and asked not in one.answers:
        return None
    chosen = one.answers[asked] if asked is not None else ()
    text = _text(one, source)
    said: dict[str, Any] = {"kind": "label", "value": chosen[0] if chosen else None, "text": text}
    if len(set(chosen)) != 1:
        said = {REFUSED: "choices" if chosen else "question", "text": text}
        said["chosen"] = json.dumps(dict(one.answers), ensure_ascii=False)
    elif not text:
        said = {REFUSED: "text", "value": chosen[0]}
    by = one.by.get("email") or one.by.get("id") if isinstance(one.by, dict) else one.by
    row = said | {
        "feedback_id": key(source.name, f"{one.task}-{one.number}", one.given_at, said),
        "rater_id": f"annotator-{by}",
        "given_at": one.given_at,
    }
    return row | {"group_id": str(one.group)} if one.group else row


def _text(one: _Annotation, source: SourceConfig) -> str | None:
    strings = {n: v for n, v in one.data.items() if isinstance(v, str) and n != "group_id"}
    if "text" in source.fields:
        path = source.fields["text"]
        found = at(one.data, path) or at({"data": one.data}, path)
        return found if isinstance(found, str) else None
    about = [name for name in one.about if name in strings]
    only = list(strings) if len(strings) == 1 else []
    named = ["text"] if "text" in strings else about if len(about) == 1 else only
    return strings[named[0]] if named else None


def _notes(found: Sequence[_Annotation], asked: str | None) -> tuple[str, ...]:
    questions = list(dict.fromkeys(name for one in found for name in one.answers))
    if len(questions) < 2:
        return ()
    told = f"its labels are taken from {asked!r}" if asked else "which are the labels is not told"
    return (
        f"the export asks {len(questions)} questions ({', '.join(questions)}); {told}: name one in "
        "the source's fields: {value: NAME}",
    )
