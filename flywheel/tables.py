"""A table as people keep it: CSV of any separator and encoding, JSON Lines, JSON, Parquet.

Read whole, for files that a person brings by hand; feedback comes in by `flywheel.feedback_files`.
A row that cannot be read is set apart with its number, and the others are used. What was guessed
(the separator, an encoding that is not UTF-8) is said in ``notes``.
"""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flywheel.errors import DataError
from flywheel.feedback_files.blocks import BREAKS, MAX_ROW_BYTES, PIECE_BYTES, packing_of, reader

Row = Mapping[str, Any]

SHEETS = (".csv", ".tsv", ".txt")
LINES = (".jsonl", ".ndjson")
SUFFIXES = (*SHEETS, *LINES, ".json", ".parquet")
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
WORKBOOKS = (".xls", ".xlsx", ".xlsm", ".ods", ".numbers")
_LOOKED_AT = 50
"""Records by which a separator is told."""
_MOST_LINES = 5_000
"""Lines of one record. A quote that is never closed would else take the rest of the file."""
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


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
        separator: Of the cells of a sheet; by default as most of its rows have it.
        encoding: Of a text file; by default what its bytes say.

    Raises:
        DataError: unknown format, or not readable as what its name says.
    """
    packing, name = packing_of(path.name.lower())
    suffix = Path(name).suffix
    if suffix not in SUFFIXES:
        raise _unknown(path, suffix)
    try:
        content = _unpacked(path, packing)
        if suffix == ".parquet":
            return _parquet(content)
        text, notes = decoded(content, path, encoding=encoding)
        if suffix in SHEETS:
            return _sheet(text, separator or ("\t" if suffix == ".tsv" else None), notes)
        if suffix == ".json" or text.lstrip().startswith("["):
            return _array(json.loads(text), notes)
    except (csv.Error, RecursionError, *BREAKS) as error:
        raise DataError(
            f"{path} cannot be read as {suffix[1:]} ({_told(error)}). Nothing was written.",
            path=str(path),
        ) from error
    return _json_lines(text, notes)


def _unknown(path: Path, suffix: str) -> DataError:
    hint = " Save the sheet as CSV UTF-8 first." if suffix in WORKBOOKS else ""
    return DataError(
        f"{path} is of unknown format; expected {', '.join(SUFFIXES)}.{hint} Nothing was written.",
        path=str(path),
    )


def _told(error: BaseException) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"line {error.lineno}: {error.msg}"
    return type(error).__name__


def _unpacked(path: Path, packing: str) -> bytes:
    with path.open("rb") as file:
        read = reader(file, packing)
        return b"".join(iter(lambda: read(PIECE_BYTES), b""))


# ---- Encodings


def decoded(
    content: bytes, path: Path, *, encoding: str | None = None
) -> tuple[str, tuple[str, ...]]:
    """The text of a file's bytes, and what is to be said about it.

    A byte order mark says what follows it. Without one it is UTF-8 unless most of what is not ASCII
    is not; then it is UTF-16 where every second byte is NUL, else Windows-1252, or its Japanese
    counterpart where the result is Japanese. In UTF-8 with few broken bytes these become lone
    surrogates, by which their rows are refused.

    Raises:
        DataError: ``encoding`` is not known or does not fit, or none fits.
    """
    if encoding is not None:
        return _named(content, path, encoding), ()
    for bom, name in _BOMS:
        if content.startswith(bom):
            text = content.decode(name, "surrogateescape" if name == "utf-8" else "replace")
            said = () if name == "utf-8" else (f"the file is {name.upper()}; read as such",)
            return text.removeprefix("\ufeff"), said
    for name, nul in (("utf-16-le", content[1:2_000:2]), ("utf-16-be", content[0:2_000:2])):
        if len(nul) > 3 and nul.count(0) > 0.4 * len(nul):
            return content.decode(name, "replace"), ("the file is UTF-16; read as such",)
    text = content.decode("utf-8", "surrogateescape")
    broken = sum("\udc80" <= char <= "\udcff" for char in text)
    if not broken or sum(char > "\x7f" for char in text) > 2 * broken:
        return text, ()
    for name in ("cp932", "cp1252"):
        try:
            text = content.decode(name)
        except UnicodeDecodeError:
            continue
        if name == "cp1252" or _is_japanese(text):
            shown = "Windows-1252 (Western Europe)" if name == "cp1252" else "Shift-JIS (Japan)"
            return text, (f"the file is not UTF-8; read as {shown}; --encoding names another one",)
    raise DataError(
        f"{path} is neither UTF-8 nor UTF-16 nor Windows-1252. Save it as UTF-8, or name its "
        "encoding with --encoding (gb18030, cp1251, euc-kr, …). Nothing was written.",
        path=str(path),
    )


def _named(content: bytes, path: Path, encoding: str) -> str:
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except LookupError as error:
        raise DataError(f"--encoding: no encoding is called {encoding!r}.") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not {encoding}: byte {error.start} does not fit. Nothing was written.",
            path=str(path),
        ) from error


def _is_japanese(text: str) -> bool:
    """Whether a good part of what is not ASCII is kana, as in any Japanese text."""
    other = [char for char in text if char > "\x7f"]
    return sum("\u3041" <= char <= "\u30ff" for char in other) > 0.2 * len(other)


# ---- Sheets


def _sheet(text: str, separator: str | None, notes: tuple[str, ...]) -> Table:
    lines = text.splitlines(keepends=True) if "\n" not in text and "\r" in text else _lines(text)
    first = lines[0].strip().casefold() if lines else ""
    if first.startswith("sep=") and len(first) == 5:
        # Excel's own way to name it
        separator, lines = separator or first[-1], ["\n", *lines[1:]]
    if separator is None:
        separator = sniffed(lines)
        if separator != ",":
            notes = (*notes, f"the cells are separated by {SEPARATORS[separator]}")
    header: list[str] | None = None
    rows, numbers, refused = [], [], []
    for number, cells in _records(lines, separator):
        if isinstance(cells, str):
            refused.append(Refused(number, cells))
        elif not any(cell.strip() for cell in cells):
            continue
        elif header is None:
            header = _unique(cells)
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


def sniffed(lines: Sequence[str]) -> str:
    """The separator by which most of the first records have as many cells as the first one.

    Of several the one that makes more cells; a comma where none makes two.
    """
    found = {}
    for separator in SEPARATORS:
        records = csv.reader(lines[: 4 * _LOOKED_AT], delimiter=separator)
        try:
            widths = [len(cells) for cells in _some(records) if any(cells)]
        except csv.Error:
            continue
        if widths and widths[0] > 1:
            found[separator] = (widths.count(widths[0]) / len(widths), widths[0])
    return max(found, key=lambda separator: found[separator], default=",")


def _some(records: Iterator[list[str]]) -> Iterator[list[str]]:
    for _, record in zip(range(_LOOKED_AT), records, strict=False):
        yield record


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


# ---- JSON and Parquet


def _json_lines(text: str, notes: tuple[str, ...]) -> Table:
    rows, numbers, refused = [], [], []
    for number, line in enumerate(_lines(text), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            refused.append(Refused(number, f"no valid JSON ({_told_short(error)})"))
            continue
        if isinstance(row, dict):
            rows.append(row)
            numbers.append(number)
        else:
            refused.append(Refused(number, f"no JSON object, but {type(row).__name__}"))
    return Table(tuple(rows), tuple(numbers), tuple(refused), notes)


def _told_short(error: BaseException) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__


def _array(content: Any, notes: tuple[str, ...]) -> Table:
    """The objects of an array, or of the only array in an object."""
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list)]
        content = lists[0] if len(lists) == 1 else None
    if not isinstance(content, list):
        raise ValueError("no array of objects")
    rows, numbers, refused = [], [], []
    for number, row in enumerate(content, start=1):
        if isinstance(row, dict):
            rows.append(row)
            numbers.append(number)
        else:
            refused.append(Refused(number, f"no JSON object, but {type(row).__name__}"))
    return Table(tuple(rows), tuple(numbers), tuple(refused), notes)


def _parquet(content: bytes) -> Table:
    table = pq.read_table(pa.BufferReader(content))
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
