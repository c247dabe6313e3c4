"""Labeled rows as tools of annotation and training keep them, as a table of texts and labels.

| written by | its rows |
|---|---|
| Prodigy | ``answer`` is accept, reject or ignore; the choice is in ``accept``, or in ``label`` |
| spaCy | ``cats``: each category with 1 or 0 |
| OpenAI's fine-tuning | ``messages``: one of a user, then one of the assistant |
| pandas and others | a column for each class, with 1 in the one that holds |

A list of one name, as doccano writes it, is read by `flywheel.ingestion.labeled_rows`. What
somebody rejected or passed over is no label, and neither are several: those rows are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from flywheel.ingestion import tables
from flywheel.ingestion.column_roles import is_role_name
from flywheel.ingestion.messages import messages_of, role_of, turns
from flywheel.ingestion.tables import Refused, Row, Table

LABEL = "label"
_BESIDE_MESSAGES = frozenset(
    {"messages", "id", "metadata", "weight", "tools", "functions", "parallel_tool_calls"}
)
"""What a line of a fine-tuning file may hold. One with a rating is read by a source."""
_YES = frozenset({"1", "1.0", "true"})
_NO = frozenset({"0", "0.0", "false"})


class _NoLabel(ValueError):
    """A row has no label that counts; the message says why."""


def read_table(path: Path, *, separator: str | None = None, encoding: str | None = None) -> Table:
    """`flywheel.ingestion.tables.read_table`, with text and label in a column each.

    Raises:
        DataError: as there.
    """
    table = tables.read_table(path, separator=separator, encoding=encoding)
    return as_table(table, header=not tables.is_sheet(path))


def as_table(table: Table, *, header: bool = True) -> Table:
    """The same rows with text and label in a column each, where their form is a known one.

    Args:
        table: What a file held.
        header: Whether its columns surely have names. The first line of a sheet may be a row.
    """
    if not header:
        table = _with_header(table)
    for known, read in _FORMS:
        if table.rows and known(table.rows):
            return _each(table, read)
    return _one_column(table)


def _each(table: Table, read: Callable[[Row], Row]) -> Table:
    rows, numbers, refused = [], [], list(table.refused)
    for number, row in zip(table.numbers, table.rows, strict=True):
        try:
            rows.append(read(row))
            numbers.append(number)
        except _NoLabel as error:
            refused.append(Refused(number, str(error)))
    refused.sort(key=lambda one: one.number)
    return replace(table, rows=tuple(rows), numbers=tuple(numbers), refused=tuple(refused))


def _only(names: Sequence[Any]) -> Any:
    if not names:
        raise _NoLabel("no label")
    if len(names) > 1:
        raise _NoLabel("several choices")
    return names[0]


# ---- Prodigy


def _is_prodigy(rows: Sequence[Row]) -> bool:
    judged = all(row.get("answer") in ("accept", "reject", "ignore") for row in rows)
    return judged and any(isinstance(row.get("accept"), list) or LABEL in row for row in rows)


def _of_prodigy(row: Row) -> Row:
    if row["answer"] == "ignore":
        raise _NoLabel("the annotator passed it over (ignore)")
    if row["answer"] == "reject":
        raise _NoLabel("the annotator rejected its label")
    choices = row.get("accept")
    label = _only(choices) if isinstance(choices, list) else row.get(LABEL)
    kept = {name: cell for name, cell in row.items() if name not in ("accept", "answer", "options")}
    return {**kept, LABEL: label}


# ---- spaCy


def _is_spacy(rows: Sequence[Row]) -> bool:
    return all(
        isinstance(cats := row.get("cats"), dict)
        and all(isinstance(value, int | float) for value in cats.values())
        for row in rows
    )


def _of_spacy(row: Row) -> Row:
    label = _only([name for name, value in row["cats"].items() if value >= 0.5])
    return {**{name: cell for name, cell in row.items() if name != "cats"}, LABEL: label}


# ---- Fine-tuning files


def _is_fine_tuning(rows: Sequence[Row]) -> bool:
    if not all(row.keys() <= _BESIDE_MESSAGES and messages_of(row) for row in rows):
        return False
    return 2 * sum(_is_one_turn(row) for row in rows) > len(rows)


def _is_one_turn(row: Row) -> bool:
    roles = [role_of(one) for one in messages_of(row) or ()]
    return [role for role in roles if role] == ["user", "assistant"]


def _of_fine_tuning(row: Row) -> Row:
    if not _is_one_turn(row):
        raise _NoLabel("a conversation of several turns")
    found = list(turns(messages_of(row) or ()))
    if not found:
        raise _NoLabel("no label")
    return {"text": found[0].asked, LABEL: found[0].answered}


_FORMS: tuple[tuple[Callable[[Sequence[Row]], bool], Callable[[Row], Row]], ...] = (
    (_is_prodigy, _of_prodigy),
    (_is_spacy, _of_spacy),
    (_is_fine_tuning, _of_fine_tuning),
)

# ---- A column for each class


def _one_column(table: Table) -> Table:
    """One column of labels in place of several of which each row has 1 in exactly one."""
    classes = _classes(table.rows)
    if not classes:
        return table
    rows = []
    for row in table.rows:
        others = {name: cell for name, cell in row.items() if name not in classes}
        rows.append({**others, LABEL: next(name for name in classes if _flag(row[name]))})
    note = f"the label is which of the columns {', '.join(classes)} holds 1"
    return replace(table, rows=tuple(rows), notes=(*table.notes, note))


def _classes(rows: Sequence[Row]) -> list[str]:
    there = list(dict.fromkeys(name for row in rows for name in row))
    if any(is_role_name(name, "label") for name in there):
        return []
    flags = [name for name in there if all(_flag(row.get(name)) is not None for row in rows)]
    held = [sum(bool(_flag(row.get(name))) for row in rows) for name in flags]
    one_each = all(sum(bool(_flag(row[name])) for name in flags) == 1 for row in rows)
    return flags if len(flags) > 1 and one_each and all(held) else []


def _flag(cell: Any) -> bool | None:
    """Whether a cell says yes or no; None where it says something else."""
    written = str(cell).strip().casefold()
    return True if written in _YES else False if written in _NO else None


# ---- Sheets without a header


def _with_header(table: Table) -> Table:
    """A sheet whose first line is a row, with it among the rows and its columns numbered.

    It is a row where one of its cells stands again and again below it, and none is called as a
    column of texts or labels is.
    """
    names = list(dict.fromkeys(name for row in table.rows for name in row))
    if not _is_row(names, table.rows):
        return table
    called = {name: f"column {place}" for place, name in enumerate(names, start=1)}
    rows: list[Mapping[str, Any]] = [{called[name]: name for name in names}]
    rows += [{called[name]: cell for name, cell in row.items()} for row in table.rows]
    note = "the first line is a row like the others; the columns are called column 1, column 2, …"
    return replace(table, rows=tuple(rows), numbers=(1, *table.numbers), notes=(*table.notes, note))


def _is_row(names: Sequence[str], rows: Sequence[Row]) -> bool:
    if any(is_role_name(name, role) for name in names for role in ("text", "label")):
        return False
    least = max(2, len(rows) / 50)
    return any(sum(str(row.get(name)).strip() == name for row in rows) >= least for name in names)
