"""Records of Argilla: each submitted response is a label by its user.

``location`` is an export of records (JSON or JSON Lines), or the folder of a dataset. Drafts and
discarded responses are no labels, and what a model suggested is nobody's. Of several fields or
questions the source's ``fields`` name one (``text: body``, ``value: topic``). Records that hold no
time take that of ``constants: {given_at: …}``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flywheel.config import SourceConfig
from flywheel.sources.annotations import Annotation, pulled
from flywheel.sources.base import Pulled
from flywheel.sources.exports import entries, require_known

_EXPECTED = "is a record of Argilla (fields and responses, or columns that end in .responses)"
_RESPONSES = ".responses"


def read(source: SourceConfig, watermark: str | None, labels: Sequence[str]) -> Pulled:
    """Submitted responses, where the records changed since.

    Raises:
        ValueError: they are no records of Argilla, or their text cannot be told.
    """
    if Path(source.location).is_dir():
        import datasets

        found: Any = datasets.load_from_disk(source.location)
        found = found[source.split] if isinstance(found, dict) else found
        mark, before = str(found._fingerprint), ""
        records = [] if mark == watermark else [dict(row) for row in found]
    else:
        records, mark, before = entries(source, watermark, labels)
    nested = [one for one in records if isinstance(one.get("responses"), dict)]
    flat = [one for one in records if any(name.endswith(_RESPONSES) for name in one)]
    require_known(len(nested) + len(flat), records, _EXPECTED)
    found = [one for record in nested for one in _nested(record)]
    found += [one for record in flat for one in _flat(record)]
    blank = [
        Annotation(one.get("id"), None, None, "", one.get("fields") or {}, {}) for one in nested
    ]
    return pulled(found, source, mark, before, labels, blank)


def _nested(record: Mapping[str, Any]) -> Iterator[Annotation]:
    """``{"responses": {question: [{"value", "user_id", "status"}]}}``."""
    answers: dict[str, dict[str, tuple[str, ...]]] = {}
    for question, responses in record["responses"].items():
        for one in responses if isinstance(responses, list) else []:
            if isinstance(one, dict) and _is_submitted(one.get("status")):
                answers.setdefault(str(one.get("user_id")), {})[question] = _chosen(
                    one.get("value")
                )
    yield from _annotations(record, record.get("fields") or {}, answers)


def _flat(record: Mapping[str, Any]) -> Iterator[Annotation]:
    """Columns ``question.responses``, ``question.responses.users`` and ``….status``, of lists."""
    answers: dict[str, dict[str, tuple[str, ...]]] = {}
    for column in record:
        if not column.endswith(_RESPONSES):
            continue
        values = record[column] or []
        users = record.get(f"{column}.users") or [None] * len(values)
        states = record.get(f"{column}.status") or ["submitted"] * len(values)
        for value, user, state in zip(values, users, states, strict=False):
            if _is_submitted(state):
                question = column.removesuffix(_RESPONSES)
                answers.setdefault(str(user), {})[question] = _chosen(value)
    data = {name: value for name, value in record.items() if not _is_about(name, record)}
    yield from _annotations(record, data, answers)


def _is_about(name: str, record: Mapping[str, Any]) -> bool:
    """Whether a column says something of a record, and is no field of it."""
    questions = [one.removesuffix(_RESPONSES) for one in record if one.endswith(_RESPONSES)]
    own = name in ("id", "status", "_server_id", "inserted_at", "updated_at")
    return own or any(name.startswith(f"{question}.") for question in questions)


def _annotations(
    record: Mapping[str, Any],
    data: Mapping[str, Any],
    answers: Mapping[str, Mapping[str, tuple[str, ...]]],
) -> Iterator[Annotation]:
    given = record.get("updated_at") or record.get("inserted_at") or ""
    for user, chosen in answers.items():
        told = {question: said for question, said in chosen.items() if said}
        if told:
            yield Annotation(record.get("id"), user, user, str(given), data, told)


def _is_submitted(status: object) -> bool:
    return str(status or "submitted").rpartition(".")[2].casefold() == "submitted"


def _chosen(value: Any) -> tuple[str, ...]:
    """One answer, or several; a ranking and a span are none."""
    found = value if isinstance(value, list) else [value]
    if value is None or any(isinstance(one, dict | list | None) for one in found):
        return ()
    return tuple(str(one) for one in found if str(one).strip())
