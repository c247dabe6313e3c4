"""Rows of a labeled table that can be used, and why each other one cannot."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from flywheel.ingestion import timestamps
from flywheel.ingestion.column_roles import Columns
from flywheel.ingestion.contract import MAX_ID_CHARS, names_nobody
from flywheel.ingestion.feedback import group_of, text_group
from flywheel.ingestion.tables import Table
from flywheel.records import Reaction
from flywheel.text import label_spelling
from flywheel.text.normalize import text_id

SOURCE = "init"
"""The source of the rows, and their rater where no column names one."""
UNNAMED = rf"{SOURCE}(-\d+)?"
"""A pattern of raters' names, where no column says who labeled."""


@dataclass(frozen=True)
class Labeled:
    """A row with a text and a label, or with what is to be written for the text."""

    number: int
    text: str = field(repr=False)
    label: str
    group: str | None = None
    customer: str | None = None
    rater: str | None = None
    given_at: datetime | None = None


@dataclass(frozen=True)
class Usable:
    """The rows to use. ``apart`` is reason → numbers of the rows that cannot be used.

    ``months_first`` is what the column of times says of its dates
    (`flywheel.ingestion.timestamps`).
    """

    rows: tuple[Labeled, ...]
    apart: Mapping[str, tuple[int, ...]]
    notes: tuple[str, ...] = ()
    months_first: bool | None = None

    @property
    def unusable(self) -> int:
        return sum(map(len, self.apart.values()))


def usable(
    table: Table,
    columns: Columns,
    *,
    now: datetime,
    writes: bool = False,
    months_first: bool | None = None,
) -> Usable:
    """Sort a table's rows into those that have a text and a label, and the others.

    Args:
        table: What was read.
        columns: Which column holds what.
        now: No row was given later.
        writes: Whether the label is a text, which keeps its form.
        months_first: What an earlier table said of dates, where this one does not tell.
    """
    apart: dict[str, list[int]] = defaultdict(list)
    for refused in table.refused:
        apart[refused.why].append(refused.number)
    cells = [row.get(columns.time or "") for row in table.rows]
    times = timestamps.read(cells, now=now, months_first=months_first)
    rows, notes = [], list(times.notes) if columns.time else []
    for number, row, given_at in zip(table.numbers, table.rows, times.found, strict=True):
        try:
            text, label = _text(row, columns), _label(row, columns, writes=writes)
            group, customer, rater = (
                _identity(row, name) for name in (columns.group, columns.customer, columns.rater)
            )
        except ValueError as error:
            apart[str(error)].append(number)
        else:
            rows.append(Labeled(number, text, label, group, customer, rater, given_at))
    untimed = sum(row.given_at is None for row in rows)
    if columns.time and untimed:
        notes.append(f"{untimed} rows have no time that can be read; the file's own stands for it")
    if any(value is True or value is False for r in table.rows for value in [r.get(columns.label)]):
        notes.append("the labels true and false were booleans")
    return Usable(
        tuple(rows),
        {why: tuple(numbers) for why, numbers in apart.items()},
        tuple(notes),
        times.months_first,
    )


def _text(row: Mapping[str, Any], columns: Columns) -> str:
    """The cells of the text, joined by a blank line."""
    parts = [_cell(row.get(name), name) for name in (columns.text, *columns.more)]
    text = "\n\n".join(part for part in parts if part)
    if not text:
        raise ValueError("no text")
    if label_spelling.is_placeholder(text):
        raise ValueError("a text that says nothing (N/A, -)")
    return text


def _cell(value: object, name: str) -> str:
    try:
        found = label_spelling.written(value)
    except ValueError as error:
        raise ValueError(f"{name} holds {error}") from None
    return "" if found is None else str(value).strip() if isinstance(value, str) else found


def _label(row: Mapping[str, Any], columns: Columns, *, writes: bool) -> str:
    if writes:
        label: str | None = _cell(row.get(columns.label), columns.label)
    else:
        try:
            label = label_spelling.written(_choice(row.get(columns.label)))
        except ValueError as error:
            raise ValueError(f"{columns.label} holds {error}") from None
    if not label:
        raise ValueError("no label")
    if not writes and label_spelling.is_json(label):
        raise ValueError(f"{columns.label} holds several choices or a structure, written as JSON")
    return label


def _choice(value: object) -> object:
    """The only one of a list, which is how tools write a choice; other lists stay as they are."""
    if (
        isinstance(value, str)
        and value.strip()[:1] == "["
        and label_spelling.is_json(value.strip())
    ):
        value = json.loads(value)
    if not isinstance(value, list):
        return value
    if len(value) > 1:
        raise ValueError("several choices")
    return value[0] if value else None


def _identity(row: Mapping[str, Any], name: str | None) -> str | None:
    if name is None:
        return None
    found = _cell(row.get(name), name)
    if len(found) > MAX_ID_CHARS:
        raise ValueError(f"{name} has more than {MAX_ID_CHARS} characters")
    return None if names_nobody(found) else found


def counts_of(rows: Sequence[Labeled]) -> dict[str, int]:
    """Label → rows, in the order in which people want to see them."""
    counts = Counter(row.label for row in rows)
    return {label: counts[label] for label in label_spelling.ordered(counts, counts)}


def merged(rows: Sequence[Labeled], same: Sequence[Sequence[str]]) -> list[Labeled]:
    """The rows with each label of ``same`` written as the first of those alike to it."""
    into = {label: group[0] for group in same for label in group}
    return [replace(row, label=into.get(row.label, row.label)) for row in rows]


def repeated(rows: Sequence[Labeled]) -> tuple[int, int]:
    """How many texts stand in several rows, and how many of those have no commonest label."""
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        votes[text_id(row.text)][row.label] += 1
    several = [vote for vote in votes.values() if vote.total() > 1]
    return len(several), sum(_is_tied(vote) for vote in several)


def _is_tied(vote: Counter[str]) -> bool:
    (_, most), *others = vote.most_common(2)
    return bool(others) and others[0][1] == most


# ---- As feedback


def feedback_rows(rows: Sequence[Labeled], *, given_at: datetime) -> list[dict[str, str]]:
    """The rows as feedback; the same row of the same file is the same ``feedback_id``.

    Where no column says who labeled, each row on one text is a voice of its own: that a text
    stands there nine times as one thing and once as another must not be settled by chance.
    ``given_at`` stands where a row has no time. Rows of a customer without a group name their text
    as the group: else ingest would take the customer for it, which `init` was told not to.
    """
    seen: Counter[str] = Counter()
    voices: Counter[str] = Counter()
    result = []
    for one in rows:
        content = _content(one)
        seen[content] += 1
        if seen[content] > 1:
            content += f"\x1f{seen[content]}"
        voice = text_id(one.text)
        voices[voice] += one.rater is None
        row = {
            "feedback_id": f"{SOURCE}-{hashlib.sha256(content.encode()).hexdigest()[:32]}",
            "kind": "label",
            "value": one.label,
            "text": one.text,
            "rater_id": one.rater or _unnamed(voices[voice]),
            "source": SOURCE,
            "given_at": (one.given_at or given_at).isoformat(),
        }
        if one.group or one.customer:
            row["group_id"] = one.group or text_group(one.text)
        result.append(row | ({"customer_id": one.customer} if one.customer else {}))
    return result


def _content(one: Labeled) -> str:
    """What makes a row that row; as before there were customers, where it has none."""
    content = "\x1f".join((one.text, one.label, one.group or ""))
    if one.customer or one.rater or one.given_at:
        at = one.given_at.isoformat() if one.given_at else ""
        content += "\x1f" + "\x1f".join((one.customer or "", one.rater or "", at))
    return content


def _unnamed(voice: int) -> str:
    return SOURCE if voice == 1 else f"{SOURCE}-{voice}"


def reactions(feedback: Sequence[Mapping[str, str]]) -> list[Reaction]:
    """Feedback rows as curation will see them."""
    return [
        Reaction(
            feedback_id=row["feedback_id"],
            kind="label",
            value=row["value"],
            text=row["text"],
            group_id=group_of(
                row["text"], group=row.get("group_id"), customer=row.get("customer_id")
            ),
            rater_id=row["rater_id"],
            source=row["source"],
            given_at=datetime.fromisoformat(row["given_at"]),
            customer_id=row.get("customer_id"),
        )
        for row in feedback
    ]
