"""A table as people keep it: CSV of any separator and encoding, JSON Lines, JSON, Parquet.

Read whole, for files that a person brings by hand; feedback comes in by
`flywheel.ingestion.readers`. A row that cannot be read is set apart with its number, and the others
are used. What was guessed (the separator, an encoding that is not UTF-8) is said in ``notes``.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flywheel.errors import DataError
from flywheel.ingestion.readers import parquet_batches
from flywheel.ingestion.readers.blocks import BREAKS, Unpacked, packing_of
from flywheel.ingestion.tables.encodings import decoded, unpacked
from flywheel.ingestion.tables.json_rows import NoRows, array, json_lines
from flywheel.ingestion.tables.sheets import FAST_TEXT, SHEETS, fast_text, sheet
from flywheel.ingestion.tables.table import Table

LINES = (".jsonl", ".ndjson")
SUFFIXES = (*SHEETS, *LINES, ".json", ".parquet")
WORKBOOKS = (".xls", ".xlsx", ".xlsm", ".ods", ".numbers")
_BINARY = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
"""How ZIP archives begin, which .xlsx and .ods are, and an .xls."""


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
        content = unpacked(path, packing)
        if suffix == ".parquet":
            return _parquet(content)
        _refuse_workbook(content, path)
        text, notes = decoded(content, path, encoding=encoding)
        if text.startswith(FAST_TEXT):
            return fast_text(text, notes)
        if suffix in SHEETS:
            return sheet(text, separator or ("\t" if suffix == ".tsv" else None), notes)
        if suffix == ".json" or text.lstrip().startswith("["):
            return array(json.loads(text), notes)
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
    if isinstance(error, Unpacked | NoRows):
        return str(error)
    return type(error).__name__


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
