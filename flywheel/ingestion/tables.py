"""A table as people keep it: CSV of any separator and encoding, JSON Lines, JSON, Parquet.

Read whole, for files that a person brings by hand; feedback comes in by
`flywheel.ingestion.readers`. A row that cannot be read is set apart with its number, and the others
are used. What was guessed (the separator, an encoding that is not UTF-8) is said in ``notes``.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flywheel.errors import DataError
from flywheel.ingestion.column_roles import is_role_name
from flywheel.ingestion.readers import parquet_batches
from flywheel.ingestion.readers.blocks import (
    BREAKS,
    MAX_ROW_BYTES,
    PIECE_BYTES,
    Unpacked,
    packing_of,
    reader,
)
from flywheel.ingestion.readers.dialect import (
    ENCODINGS,
    SEPARATORS,
    Dialect,
    named_separator,
    sniff_encoding,
    sniff_separator,
)

Row = Mapping[str, Any]

SHEETS = (".csv", ".tsv", ".txt")
LINES = (".jsonl", ".ndjson")
SUFFIXES = (*SHEETS, *LINES, ".json", ".parquet")
WORKBOOKS = (".xls", ".xlsx", ".xlsm", ".ods", ".numbers")
_BINARY = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
"""How ZIP archives begin, which .xlsx and .ods are, and an .xls."""
_CONTROL = re.compile(r"[\x80-\x84\x86-\x9f]")
"""What letters of a Windows code page become in an encoding of ISO 8859; U+0085 ends lines."""
_FAST_TEXT = "__label__"
_ABOVE = 20
"""Lines above a header at most: a title, who exported it and when."""
_MOST_LINES = 5_000
"""Lines of one record. A quote that is never closed would else take the rest of the file."""


@dataclass(frozen=True)
class Refused:
    """A row that cannot be used, and why. The reason never holds what stands in the row."""

    number: int
    why: str


@dataclass(frozen=True)
class Table:
    """``rows`` with their ``numbers``, as a spreadsheet or an editor counts them.

    The header of a sheet is row 1, and the first line of a JSON Lines file line 1.
    """

    rows: tuple[Row, ...]
    numbers: tuple[int, ...]
    refused: tuple[Refused, ...] = ()
    notes: tuple[str, ...] = ()


def read_table(path: Path, *, separator: str | None = None, encoding: str | None = None) -> Table:
    """The rows of a file, packed (``.gz``, ``.zst``) or not.

    Args:
        path: Its name says the format, one of `SUFFIXES`.
        separator: Of the cells of a sheet, ``\\t`` for a tab; by default as in most of its rows.
        encoding: Of a text file; by default what its bytes say.

    Raises:
        DataError: unknown format, not readable as what its name says, or no such separator.
    """
    separator = separator and _one_character(separator)
    packing, name = packing_of(path.name.lower())
    suffix = Path(name).suffix
    if suffix not in SUFFIXES:
        raise _unknown(path, suffix)
    try:
        content = _unpacked(path, packing)
        if suffix == ".parquet":
            return _parquet(content)
        _refuse_workbook(content, path)
        text, notes = decoded(content, path, encoding=encoding)
        if text.startswith(_FAST_TEXT):
            return fast_text(text, notes)
        if suffix in SHEETS:
            return sheet(text, separator or ("\t" if suffix == ".tsv" else None), notes)
        if suffix == ".json" or text.lstrip().startswith("["):
            return _array(json.loads(text), notes)
    except (csv.Error, RecursionError, *BREAKS) as error:
        raise DataError(
            f"{path} cannot be read as {suffix[1:]} ({_told(error)}). Nothing was written.",
            path=str(path),
        ) from error
    return json_lines(text, notes)


def _one_character(separator: str) -> str:
    """A separator as a person names it."""
    found = "\t" if separator in ("\\t", "tab") else separator
    if len(found) != 1 or found in '"\r\n':
        raise DataError(
            f"--separator: {separator!r} cannot stand between cells; expected is one character, or "
            "\\t for a tab. Nothing was written."
        )
    return found


def require_rows(table: Table, path: Path, *, least: int = 2) -> None:
    """Refuse a table of which nothing can be told.

    Raises:
        DataError: fewer than ``least`` rows can be read, of which two tell the columns.
    """
    if len(table.rows) < least:
        number = "two rows" if least == 2 else "one row"
        apart = f", and {len(table.refused)} that cannot be read" if table.refused else ""
        raise DataError(
            f"{path} holds fewer than {number} of fields: {len(table.rows)} below the header"
            f"{apart}. Nothing was written.",
            path=str(path),
        )


def _unknown(path: Path, suffix: str) -> DataError:
    hint = " Save the sheet as CSV UTF-8 first." if suffix in WORKBOOKS else ""
    return DataError(
        f"{path} is of unknown format; expected {', '.join(SUFFIXES)}.{hint} Nothing was written.",
        path=str(path),
    )


def _refuse_workbook(content: bytes, path: Path) -> None:
    if content.startswith(_BINARY):
        raise DataError(
            f"{path} is no text: by its first bytes it is a spreadsheet's own file or a ZIP "
            "archive, whatever its name says. Save the sheet as CSV UTF-8. Nothing was written.",
            path=str(path),
        )


def _told(error: BaseException) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"line {error.lineno}: {error.msg}"
    if isinstance(error, Unpacked | _NoRows):
        return str(error)
    return type(error).__name__


def _unpacked(path: Path, packing: str) -> bytes:
    with path.open("rb") as file:
        read = reader(file, packing)
        return b"".join(iter(lambda: read(PIECE_BYTES), b""))


# ---- Encodings


def is_unicode(path: Path) -> bool:
    """Whether a text file's bytes say that it is Unicode: a byte order mark, or letters in UTF-8.

    Letters of a code page are next to never valid UTF-8.
    """
    packing, name = packing_of(path.name.lower())
    if name.endswith(".parquet"):
        return False
    try:
        content = _unpacked(path, packing)
    except BREAKS:
        return False
    if content.isascii():
        return False
    found = sniff_encoding(content)
    if found != "utf-8":
        return found is not None and found.startswith("utf")
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def decoded(
    content: bytes, path: Path, *, encoding: str | None = None
) -> tuple[str, tuple[str, ...]]:
    """The text of a file's bytes, and what is to be said about it.

    In UTF-8 with few broken bytes these become lone surrogates, by which their rows are refused.

    Raises:
        DataError: ``encoding`` is not known or does not fit, or none fits.
    """
    if encoding is not None:
        return _named(content, path, encoding), ()
    found = sniff_encoding(content)
    if found is None:
        raise DataError(
            f"{path} is neither UTF-8 nor UTF-16 nor Windows-1252. Save it as UTF-8, or name its "
            "encoding with --encoding (cp1250 for Polish, Czech or Hungarian, cp1251, gb18030, "
            "euc-kr, …). Nothing was written.",
            path=str(path),
        )
    return Dialect(found).decode(content).removeprefix("\ufeff"), _said_of(found)


def _said_of(encoding: str) -> tuple[str, ...]:
    if encoding == "utf-8":
        return ()
    if encoding.startswith("utf"):
        return (f"the file is {ENCODINGS[encoding]}; read as such",)
    read_as = f"the file is not UTF-8; read as {ENCODINGS[encoding]}"
    return (f"{read_as}; --encoding names another one",)


def _named(content: bytes, path: Path, encoding: str) -> str:
    try:
        text = content.decode(encoding).removeprefix("\ufeff")
    except LookupError as error:
        raise DataError(f"--encoding: no encoding is called {encoding!r}.") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not {encoding}: byte {error.start} does not fit. Nothing was written.",
            path=str(path),
        ) from error
    if (found := _CONTROL.search(text)) is not None:
        line = text.count("\n", 0, found.start()) + 1
        raise DataError(
            f"{path} is not {encoding}: read so, line {line} holds the control character "
            f"U+{ord(found.group()):04X}, which no text has. Name another encoding with --encoding "
            "(cp1250, cp1251, …). Nothing was written.",
            path=str(path),
        )
    return text


# ---- Sheets


def sheet(text: str, separator: str | None = None, notes: tuple[str, ...] = ()) -> Table:
    """The rows of a sheet, its separator as most of its rows have it unless it is given."""
    lines = text.splitlines(keepends=True) if "\n" not in text and "\r" in text else _lines(text)
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


def _lines(text: str) -> list[str]:
    """Lines with their ends; only a line feed ends one, for others occur within texts."""
    lines = text.split("\n")
    return [f"{line}\n" for line in lines[:-1]] + lines[-1:] * bool(lines[-1])


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
    for number, line in enumerate(_lines(text), start=1):
        words = line.split()
        labels = [word for word in words if word.startswith(_FAST_TEXT)]
        if len(labels) > 1:
            refused.append(Refused(number, "several choices"))
        elif words:
            said = line.strip().removeprefix(labels[0]).strip() if labels else line.strip()
            label = labels[0].removeprefix(_FAST_TEXT) if labels else None
            rows.append({"label": label, "text": said})
            numbers.append(number)
    return Table(tuple(rows), tuple(numbers), tuple(refused), notes)


# ---- JSON and Parquet


def json_lines(text: str, notes: tuple[str, ...] = ()) -> Table:
    """The objects of a JSON Lines file, one a line; only a line feed ends one."""
    found, refused = [], []
    for number, line in enumerate(_lines(text), start=1):
        if not line.strip():
            continue
        try:
            found.append((number, json.loads(line)))
        except (ValueError, RecursionError) as error:
            refused.append(Refused(number, f"no valid JSON ({_told_short(error)})"))
    return _of_objects(found, notes, refused)


def _told_short(error: BaseException) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__


def _array(content: Any, notes: tuple[str, ...]) -> Table:
    """The objects of an array, of the only array in an object, or of columns as pandas has them."""
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list)]
        content = _of_pandas(content) or (lists[0] if len(lists) == 1 else None)
    if not isinstance(content, list):
        raise _NoRows("it holds no array of objects, nor columns of one length")
    return _of_objects(list(enumerate(content, start=1)), notes)


class _NoRows(ValueError):
    """JSON of which no rows can be made; the message says why."""


def _of_pandas(content: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Rows of what ``DataFrame.to_json`` and ``to_dict`` write: split, columns, index or list."""
    names, data = content.get("columns"), content.get("data")
    if isinstance(names, list) and isinstance(data, list):
        named = [str(name) for name in names]
        return [dict(zip(named, cells, strict=False)) for cells in data if isinstance(cells, list)]
    held = list(content.values())
    if len(held) > 1 and all(isinstance(one, list) and len(one) == len(held[0]) for one in held):
        return [dict(zip(content, cells, strict=True)) for cells in zip(*held, strict=True)]
    if held and all(isinstance(one, dict) for one in held):
        if all(name.isdecimal() for name in content):
            return held
        numbers = list(dict.fromkeys(number for column in held for number in column))
        if all(number.isdecimal() for number in numbers):
            return [{name: content[name].get(at) for name in content} for at in numbers]
    return None


def _of_objects(
    found: Sequence[tuple[int, Any]], notes: tuple[str, ...], refused: Sequence[Refused] = ()
) -> Table:
    """The objects among values of JSON, each with its number; others are refused, too."""
    others = [
        Refused(number, f"no JSON object, but {type(row).__name__}")
        for number, row in found
        if not isinstance(row, dict)
    ]
    kept = [(number, row) for number, row in found if isinstance(row, dict)]
    return Table(
        tuple(row for _, row in kept),
        tuple(number for number, _ in kept),
        tuple(sorted((*refused, *others), key=lambda one: one.number)),
        notes,
    )


def _parquet(content: bytes) -> Table:
    table = parquet_batches.read_table(io.BytesIO(content))
    named = _class_names(table.schema.metadata or {})
    rows: list[dict[str, Any]] = table.to_pylist()
    for column, names in named.items():
        for row in rows:
            value = row.get(column)
            # -1 is how such a column says that there is none
            row[column] = names[value] if value is not None and 0 <= value < len(names) else None
    return Table(tuple(rows), tuple(range(1, len(rows) + 1)))


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Column → its classes' names, where the library `datasets` wrote the file."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return {
        column: list(feature["names"])
        for column, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    }
