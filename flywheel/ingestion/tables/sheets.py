"""Sheets as people keep them: any separator, titles above the header, broken records."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from flywheel.ingestion.column_roles import is_role_name
from flywheel.ingestion.readers.blocks import MAX_ROW_BYTES, packing_of
from flywheel.ingestion.readers.dialect import SEPARATORS, named_separator, sniff_separator
from flywheel.ingestion.tables.table import Refused, Table, lines_of

SHEETS = (".csv", ".tsv", ".txt")
FAST_TEXT = "__label__"
_ABOVE = 20
"""Lines above a header at most: a title, who exported it and when."""
_MOST_LINES = 5_000
"""Lines of one record. A quote that is never closed would else take the rest of the file."""


def sheet(text: str, separator: str | None = None, notes: tuple[str, ...] = ()) -> Table:
    """The rows of a sheet, its separator as most of its rows have it unless it is given."""
    lines = text.splitlines(keepends=True) if "\n" not in text and "\r" in text else lines_of(text)
    if lines and (told := named_separator(lines[0])):
        separator, lines = separator or told, ["\n", *lines[1:]]
    if separator is None:
        separator = sniff_separator(lines)
        if separator != ",":
            notes = (*notes, f"the cells are separated by {SEPARATORS[separator]}")
    header: list[str] | None = None
    rows, numbers, refused = [], [], []
    records = list(_records(lines, separator))
    if above := _above_header(records):
        notes = (*notes, f"{above} lines above the header were left out")
    named: list[str] = []
    for number, cells in records[above:]:
        if isinstance(cells, str):
            refused.append(Refused(number, cells))
        elif not any(cell.strip() for cell in cells):
            continue
        elif header is None:
            named, header = cells, _unique(cells)
        elif cells == named:
            refused.append(Refused(number, "the header again"))
        elif fault := _misfit(cells, header):
            refused.append(Refused(number, fault))
        else:
            rows.append(dict(zip(header, cells, strict=False)))
            numbers.append(number)
    return Table(tuple(rows), tuple(numbers), tuple(refused), notes)


def _records(lines: list[str], separator: str) -> Iterator[tuple[int, list[str] | str]]:
    """Number and cells of each record, or why its first line is none.

    Lines are counted for spreadsheets: a record with line breaks in a cell is one row.
    """
    csv.field_size_limit(MAX_ROW_BYTES)
    at = number = 0
    while at < len(lines):
        number += 1
        feed = iter(lines[at : at + 1])
        try:
            # most records are one line
            cells = next(csv.reader(feed, delimiter=separator, strict=True))
            at += 1
        except csv.Error:
            record = csv.reader(
                iter(lines[at : at + _MOST_LINES]), delimiter=separator, strict=True
            )
            try:
                cells = next(record)
                at += record.line_num
            except csv.Error as error:
                at += 1
                yield number, f"no valid CSV ({error})"
                continue
        yield number, cells


def _above_header(records: Sequence[tuple[int, list[str] | str]]) -> int:
    """How many records stand above the header: lines of one cell, over rows of several.

    A header may name one column of several, too; so a padded line is one of them only where it is
    not called as columns are, or where an empty line follows.
    """
    cells = [[] if isinstance(found, str) else found for _, found in records[: _ABOVE + 50]]
    filled = [sum(bool(cell.strip()) for cell in one) for one in cells]
    if sorted(filled)[len(filled) // 2 :][:1] < [2]:
        return 0
    place = next((at for at, count in enumerate(filled) if count > 1), 0)
    if place > _ABOVE:
        return 0
    titles = [one for one, count in zip(cells[:place], filled, strict=False) if count]
    empty_below = place > 0 and not filled[place - 1]
    surely = all(len(one) == 1 or (one[0].strip() and not _is_name(one[0])) for one in titles)
    return place if titles and (surely or empty_below) else 0


def _is_name(cell: str) -> bool:
    return any(is_role_name(cell, role) for role in ("text", "label"))


def _misfit(cells: list[str], header: list[str]) -> str | None:
    if len(cells) > len(header) and any(cell.strip() for cell in cells[len(header) :]):
        return f"{len(cells)} cells where the header has {len(header)}"
    if any("\udc80" <= char <= "\udcff" for cell in cells for char in cell):
        return "not valid UTF-8"
    return None


def _unique(cells: Sequence[str]) -> list[str]:
    """Names of columns: without blanks around them, numbered where one is empty or comes twice."""
    names: list[str] = []
    for place, cell in enumerate(cells, start=1):
        name = cell.strip().strip("\ufeff") or f"column {place}"
        names.append(f"{name} ({place})" if name in names else name)
    return names


def is_sheet(path: Path) -> bool:
    """Whether a file's name says that it is a sheet, whose first line names its columns."""
    _, name = packing_of(path.name.lower())
    return Path(name).suffix in SHEETS


def fast_text(text: str, notes: tuple[str, ...] = ()) -> Table:
    """The rows of a file as fastText reads it: ``__label__name``, then the text, in each line."""
    rows, numbers, refused = [], [], []
    for number, line in enumerate(lines_of(text), start=1):
        words = line.split()
        labels = [word for word in words if word.startswith(FAST_TEXT)]
        if len(labels) > 1:
            refused.append(Refused(number, "several choices"))
        elif words:
            said = line.strip().removeprefix(labels[0]).strip() if labels else line.strip()
            label = labels[0].removeprefix(FAST_TEXT) if labels else None
            rows.append({"label": label, "text": said})
            numbers.append(number)
    return Table(tuple(rows), tuple(numbers), tuple(refused), notes)
