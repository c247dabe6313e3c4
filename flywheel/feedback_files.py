"""Feedback files in chunks: JSON Lines, CSV and Parquet; the first two plain, ``.gz`` or ``.zst``.

A chunk holds many rows as one Arrow table, for the store to judge set-wise, and gives any of its
rows alone, for `parse_feedback` to judge. Memory is bounded by the chunk, never by the file.
Where a file breaks off, the whole rows before the break are kept and one last row stands for the
rest. Blank lines are no rows.
"""

from __future__ import annotations

import csv
import gzip
import json
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from flywheel.errors import DataError
from flywheel.feedback import parse_feedback
from flywheel.records import Feedback

SUFFIXES = (
    ".jsonl",
    ".jsonl.gz",
    ".jsonl.zst",
    ".csv",
    ".csv.gz",
    ".csv.zst",
    ".parquet",
    ".parquet.gz",
    ".parquet.zst",
)
FIELDS = (
    "feedback_id",
    "kind",
    "value",
    "prediction_id",
    "text",
    "group_id",
    "customer_id",
    "rater_id",
    "source",
    "given_at",
)
CHUNK_BYTES = 8 * 2**20
MAX_ROW_BYTES = 16 * 2**20
"""A longer row is quarantined with its beginning only."""
_PIECE_BYTES = 2**20
_ZSTD_PIECE_BYTES = 2**16
_KEPT_CHARS = 1_000
_BATCH_ROWS = 20_000
_PARQUET_ROWS = 65_536
_MAX_FAST_COLUMNS = 60
_BOM = b"\xef\xbb\xbf"
# The bytes come from a file that was opened: an OSError here is about what they say.
_BREAKS = (EOFError, OSError, zlib.error, pa.ArrowException, ValueError)

# One row of any format: the raw text for quarantine, and its fields or why there are none.
Row = tuple[str, dict[str, object] | DataError]


@dataclass(frozen=True)
class Chunk:
    """Some rows of a file, each either in ``table`` or in ``odd``; ``row_number`` counts from 1.

    ``table`` has ``row_number`` (ascending) and either ``line``, a JSON text each, or the columns
    of `FIELDS` that the file has, without a NUL in them. ``row`` gives one row of it as
    `parse_feedback` wants it. ``odd`` are the rows that cannot be in a table.
    """

    table: pa.Table
    row: Callable[[int], Row]
    odd: tuple[tuple[int, Row], ...] = ()


def chunks(name: str, stream: BinaryIO) -> Iterator[Chunk]:
    """Read a file to its end or to where it breaks.

    Args:
        name: Its name, which says the format (one of `SUFFIXES`).
        stream: Its bytes, seekable where it is Parquet.
    """
    packing, name = packing_of(name.lower())
    if name.endswith(".parquet"):
        yield from _parquet_chunks(stream, packing)
    elif name.endswith(".csv"):
        yield from _csv_chunks(_Blocks(_reader(stream, packing)))
    else:
        yield from _json_chunks(_Blocks(_reader(stream, packing)))


def judge(row: Row, labels: tuple[str, ...]) -> Feedback | tuple[str, str]:
    """Return the feedback that a row holds, or (raw row, reason) where it is refused."""
    raw, fields = row
    try:
        if isinstance(fields, DataError):
            raise fields
        return parse_feedback(fields, labels=labels)
    except DataError as error:
        return raw, error.message


# ---- Bytes


def packing_of(name: str) -> tuple[str, str]:
    """Tell a file's packing (``.gz``, ``.zst`` or nothing) from the rest of its name."""
    for packing in (".gz", ".zst"):
        if name.endswith(packing):
            return packing, name.removesuffix(packing)
    return "", name


def _reader(stream: BinaryIO, packing: str) -> Callable[[int], bytes]:
    """Return a function that gives the next unpacked bytes, at most so many; b"" at the end."""
    if packing == ".gz":
        return gzip.GzipFile(fileobj=stream).read1
    if packing == ".zst":
        # Smaller pieces: where a frame breaks off, the piece being read is lost.
        unpacked = pa.CompressedInputStream(pa.PythonFile(_Kept(stream), mode="r"), "zstd")
        return lambda size: bytes(unpacked.read(min(size, _ZSTD_PIECE_BYTES)))
    return stream.read


class _Kept:
    """A stream that stays open when Arrow, done with it, closes it."""

    closed = False

    def __init__(self, stream: BinaryIO) -> None:
        self.read = stream.read

    def close(self) -> None:
        """Do nothing."""


class _Blocks:
    """Whole lines in blocks of about `CHUNK_BYTES`; afterwards ``broken`` says what broke off."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self.broken: DataError | None = None

    def __iter__(self) -> Iterator[tuple[bytes, bool]]:
        """Yield (lines, True), or (the beginning of one line that is far too long, False)."""
        parts: list[bytes] = []
        size, lines = 0, False
        while piece := self._piece():
            parts.append(piece)
            size += len(piece)
            lines = lines or b"\n" in piece
            if lines and size >= CHUNK_BYTES:
                block = b"".join(parts)
                end = block.rfind(b"\n") + 1
                yield block[:end], True
                rest = block[end:]
            elif not lines and size > MAX_ROW_BYTES:
                yield b"".join(parts)[: 4 * _KEPT_CHARS], False
                rest = self._after_line()
            else:
                continue
            parts, size, lines = [rest], len(rest), b"\n" in rest
        block = b"".join(parts)
        if self.broken is not None:
            block = block[: block.rfind(b"\n") + 1]
        if block:
            yield block, True

    def _piece(self) -> bytes:
        try:
            return self._read(_PIECE_BYTES)
        except _BREAKS as error:
            self.broken = _unreadable(error)
            return b""

    def _after_line(self) -> bytes:
        while piece := self._piece():
            _, newline, rest = piece.partition(b"\n")
            if newline and (rest or (rest := self._piece())):
                return rest
            if newline:
                break
        return b""


def _unreadable(error: BaseException) -> DataError:
    return DataError(f"the rest of the file cannot be read ({type(error).__name__})")


def _too_long() -> DataError:
    return DataError(f"the row is longer than {MAX_ROW_BYTES // 2**20} MiB")


def _lines(block: bytes) -> pa.Array:
    """Return the lines as binary, each with its line end, without copying them."""
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + 1
    if block and not block.endswith(b"\n"):
        ends = np.append(ends, len(block))
    offsets = np.concatenate(([0], ends)).astype(np.int32)
    return pa.BinaryArray.from_buffers(
        pa.binary(), len(ends), [None, pa.py_buffer(offsets), pa.py_buffer(block)]
    )


def _raw(line: bytes) -> str:
    kept = line if len(line) <= MAX_ROW_BYTES else line[: 4 * _KEPT_CHARS]
    text = kept.decode("utf-8", "backslashreplace").rstrip("\r\n")
    return text if len(line) <= MAX_ROW_BYTES else text[:_KEPT_CHARS]


def _is_utf8(array: pa.Array) -> bool:
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _in_batches(table: pa.Table) -> pa.Table:
    """Cut a table into batches, for several threads to take."""
    return pa.Table.from_batches(table.to_batches(max_chunksize=_BATCH_ROWS), table.schema)


# ---- JSON Lines


def _json_chunks(blocks: _Blocks) -> Iterator[Chunk]:
    number = 0
    for index, (block, whole) in enumerate(blocks):
        if not whole:
            number += 1
            yield _alone(number, (_raw(block)[:_KEPT_CHARS], _too_long()))
            continue
        chunk = _json_chunk(block.removeprefix(_BOM) if index == 0 else block, number + 1)
        number += chunk.table.num_rows + len(chunk.odd)
        yield chunk
    if blocks.broken is not None:
        yield _alone(number + 1, ("", blocks.broken))


def _json_chunk(block: bytes, first: int) -> Chunk:
    lines = _lines(block)
    filled = _filled(lines, block)
    if not filled.all():
        lines = lines.filter(pa.array(filled))
    numbers = np.arange(first, first + len(lines))
    fit = _fit(lines)
    odd = [(int(numbers[i]), _json_row(lines[i].as_py())) for i in np.flatnonzero(~fit)]
    if odd:
        lines, numbers = lines.filter(pa.array(fit)), numbers[fit]
    table = pa.table({"row_number": pa.array(numbers), "line": lines.view(pa.string())})

    def row(number: int) -> Row:
        return _json_row(lines[int(np.searchsorted(numbers, number))].as_py())

    return Chunk(_in_batches(table), row, tuple(odd))


def _filled(lines: pa.Array, block: bytes) -> Any:
    """Say for every line whether it is more than white space."""
    if not len(lines):
        return np.zeros(0, bool)
    starts = np.frombuffer(lines.buffers()[1], np.int32)[: len(lines)]
    first = np.frombuffer(block, np.uint8)[starts]
    filled = np.ones(len(lines), bool)
    for i in np.flatnonzero(first <= ord(" ")):
        filled[i] = bool(lines[i].as_py().strip())
    return filled


def _fit(lines: pa.Array) -> Any:
    """Say for every line whether it is UTF-8 and not too long."""
    fit = pc.binary_length(lines).to_numpy(zero_copy_only=False) <= MAX_ROW_BYTES
    if not _is_utf8(lines.view(pa.string())):
        for i in range(len(lines)):
            fit[i] &= _is_utf8(lines[i : i + 1].view(pa.string()))
    return fit


def _json_row(line: bytes) -> Row:
    return _raw(line), _json_fields(line)


def _json_fields(line: bytes) -> dict[str, object] | DataError:
    if len(line) > MAX_ROW_BYTES:
        return _too_long()
    try:
        content = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        return DataError("the row is not valid UTF-8")
    except (ValueError, RecursionError):
        return DataError("the row is not valid JSON")
    if not isinstance(content, dict):
        return DataError(f"the row must be a JSON object, found {type(content).__name__}")
    return content


# ---- CSV


def _csv_chunks(blocks: _Blocks) -> Iterator[Chunk]:
    sheet = _Sheet()
    for block, whole in blocks:
        if whole:
            yield from sheet.take(block, last=False)
        else:
            yield from sheet.take(b"", last=True)
            yield from sheet.refuse(_raw(block)[:_KEPT_CHARS], _too_long())
        if sheet.refused:
            return
    if blocks.broken is None:
        yield from sheet.take(b"", last=True)
    else:
        yield from sheet.refuse("", blocks.broken)


class _Sheet:
    """A CSV file as it is read: its header, and the lines of a record that is still open.

    Lines that are one well-formed record each are told set-wise; wherever one is not, the csv
    module takes over for one record. Broken bytes become lone surrogates, which
    `parse_feedback` refuses in that row alone.
    """

    def __init__(self) -> None:
        self.refused = False
        self._header: list[str] | None = None
        self._number = 0
        self._tail: bytes | None = None

    def refuse(self, raw: str, fault: DataError) -> Iterator[Chunk]:
        """Yield one more row, that cannot be used."""
        self._number += 1
        yield _alone(self._number, (raw, fault))

    def take(self, block: bytes, *, last: bool) -> Iterator[Chunk]:
        """Yield the rows of some lines; ``last`` says that an open record will not be closed."""
        if self._tail is None:
            block, self._tail = block.removeprefix(_BOM), b""
        block, self._tail = self._tail + block, b""
        if not block or self.refused:
            return
        lines = _lines(block)
        feed = _Records(lines)
        while self._header is None and feed.at < len(lines):
            begin = feed.at
            raw, cells = feed.take()
            if feed.ended and not last:
                self._keep(lines, begin)
                return
            if isinstance(cells, list) and not any(cells):
                continue
            if isinstance(cells, DataError) or len(set(cells)) < len(cells):
                fault = DataError("the CSV header is broken or names a column twice")
                yield from self.refuse(raw, fault)
                self.refused = True
                return
            self._header = cells
        if self._header is not None:
            yield self._chunk(self._header, lines[feed.at :], last=last)

    def _chunk(self, header: list[str], lines: pa.Array, *, last: bool) -> Chunk:
        fit = _plain_records(lines, len(header))
        counted = fit.astype(np.int64)
        found: list[tuple[int, Row]] = []
        feed = _Records(lines)
        for begin in np.flatnonzero(~fit):
            if begin < feed.at:
                continue
            feed.at = int(begin)
            raw, cells = feed.take()
            fit[begin : feed.at] = False
            counted[begin : feed.at] = 0
            if feed.ended and not last:
                self._keep(lines, int(begin))
                break
            if not (isinstance(cells, list) and not any(cells)):
                counted[begin] = 1
                found.append((int(begin), (raw, _named(header, cells))))
        numbers = self._number + np.cumsum(counted)
        self._number += int(counted.sum())
        odd = [(int(numbers[at]), row) for at, row in found]
        lines, numbers = lines.filter(pa.array(fit)), numbers[fit]
        table = _csv_table(header, lines)

        def row(number: int) -> Row:
            raw, cells = _Records(lines[int(np.searchsorted(numbers, number)) :]).take()
            return raw, _named(header, cells)

        if table is None:
            odd += [(int(number), row(int(number))) for number in numbers]
            return Chunk(_no_rows(), row, tuple(sorted(odd, key=lambda one: one[0])))
        table = table.add_column(0, "row_number", pa.array(numbers))
        return Chunk(_in_batches(table), row, tuple(odd))

    def _keep(self, lines: pa.Array, begin: int) -> None:
        self._tail = b"".join(lines[begin:].to_pylist())


class _Records:
    """Takes one record at a time from lines; ``at`` is the next line.

    ``ended`` says that the last record was still open when the lines ran out.
    """

    def __init__(self, lines: pa.Array) -> None:
        self.at = 0
        self.ended = False
        self._lines = lines
        self._taken: list[bytes] = []
        self._reader = csv.reader(self, strict=True)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.at >= len(self._lines):
            self.ended = True
            raise StopIteration
        line: bytes = self._lines[self.at].as_py()
        self.at += 1
        self._taken.append(line)
        return line.decode("utf-8", "surrogateescape")

    def take(self) -> tuple[str, list[str] | DataError]:
        self._taken.clear()
        self.ended = False
        cells: list[str] | DataError
        try:
            cells = next(self._reader)
        except csv.Error as error:
            cells = DataError(f"the row is not valid CSV ({error})")
        return _raw(b"".join(self._taken)), cells


def _named(header: list[str], cells: list[str] | DataError) -> dict[str, object] | DataError:
    if isinstance(cells, DataError):
        return cells
    if len(cells) != len(header):
        return DataError(f"the row has {len(cells)} cells, the header {len(header)}")
    return dict(zip(header, cells, strict=True))


def _plain_records(lines: pa.Array, width: int) -> Any:
    """Say for every line whether it is one record of ``width`` cells, and not all are empty."""
    plain = np.zeros(len(lines), bool)
    if not len(lines) or width > _MAX_FAST_COLUMNS:
        return plain
    plain = pc.binary_length(lines).to_numpy(zero_copy_only=False) <= csv.field_size_limit()
    plain &= _fit(lines)
    text = lines.filter(pa.array(plain)).view(pa.string())
    cell = r'(?:[^",\r\n\x00]*|"(?:[^"\r\n\x00]|"")*")'
    record = rf"\A{cell}(?:,{cell}){{{width - 1}}}\r?\n?\z"
    well = pc.and_(
        pc.match_substring_regex(text, record), pc.match_substring_regex(text, r'[^,"\r\n]')
    )
    plain[plain] = well.to_numpy(zero_copy_only=False)
    return plain


def _csv_table(header: list[str], lines: pa.Array) -> pa.Table | None:
    """Parse lines that are one record each; None where that cannot be trusted."""
    known = {name: f"column {header.index(name)}" for name in FIELDS if name in header}
    if not len(lines):
        return _no_rows().drop_columns(["row_number"])
    offsets = np.frombuffer(lines.buffers()[1], np.int32)[lines.offset :][: len(lines) + 1]
    data = lines.buffers()[2].slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
    if not known or data[: len(_BOM)].to_pybytes() == _BOM:
        return None
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(data),
            read_options=pyarrow.csv.ReadOptions(
                column_names=[f"column {index}" for index in range(len(header))]
            ),
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=False),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=list(known.values()),
                column_types={name: pa.string() for name in known.values()},
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid:
        return None
    return table.rename_columns(list(known)) if table.num_rows == len(lines) else None


# ---- Parquet


def _parquet_chunks(stream: BinaryIO, packing: str) -> Iterator[Chunk]:
    number = 0
    with tempfile.TemporaryFile() as unpacked:
        try:
            if packing:
                read = _reader(stream, packing)
                while piece := read(_PIECE_BYTES):
                    unpacked.write(piece)
                unpacked.seek(0)
            file = pq.ParquetFile(unpacked if packing else stream)
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS):
                yield _parquet_chunk(batch, number + 1)
                number += batch.num_rows
        except _BREAKS as error:
            # a ValueError is pyarrow's for a column name that is not UTF-8
            yield _alone(number + 1, ("", _unreadable(error)))


def _parquet_chunk(batch: pa.RecordBatch, first: int) -> Chunk:
    numbers = np.arange(first, first + batch.num_rows)

    def row(number: int) -> Row:
        return _parquet_row(batch, number - first)

    columns = _parquet_columns(batch)
    if columns is None:
        return Chunk(_no_rows(), row, tuple((int(number), row(int(number))) for number in numbers))
    table = pa.table({"row_number": pa.array(numbers)} | columns)
    return Chunk(_in_batches(table), row)


def _parquet_columns(batch: pa.RecordBatch) -> dict[str, pa.Array] | None:
    """Return the columns of `FIELDS`; None where one may hold what only Python can judge."""
    names = batch.schema.names
    if len(set(names)) < len(names):
        return None
    columns = {}
    for name in names:
        column = batch.column(name)
        kind = column.type
        if pa.types.is_dictionary(kind) and pa.types.is_string(kind.value_type):
            column = column.dictionary_decode()
        elif pa.types.is_large_string(kind) or pa.types.is_null(kind):
            column = column.cast(pa.string())
        kind = column.type
        if pa.types.is_string(kind):
            if not _is_utf8(column) or pc.any(pc.match_substring(column, "\0")).as_py():
                return None
        elif name in FIELDS:
            if name != "given_at" or not _is_moment(kind):
                return None
            column = column.cast(pa.timestamp("us", tz="UTC"))
        elif not (pa.types.is_integer(kind) or pa.types.is_boolean(kind) or kind in _FLOATS):
            return None
        if name in FIELDS:
            columns[name] = column
    return columns


_FLOATS = (pa.float32(), pa.float64())


def _is_moment(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind)) and kind.unit != "ns" and kind.tz == "UTC"


def _parquet_row(batch: pa.RecordBatch, index: int) -> Row:
    try:
        cells = batch.slice(index, 1).to_pylist()[0]
    except (UnicodeDecodeError, ValueError, OverflowError) as error:
        return "", DataError(f"the row cannot be read ({type(error).__name__})")
    # A timestamp column is as good as an ISO string; one without a zone is refused later.
    fields = {
        name: cell.isoformat() if isinstance(cell, datetime) else cell
        for name, cell in cells.items()
    }
    return json.dumps(fields, default=repr), fields


def _alone(number: int, row: Row) -> Chunk:
    return Chunk(_no_rows(), lambda _: row, ((number, row),))


def _no_rows() -> pa.Table:
    return pa.table({"row_number": pa.array([], pa.int64())})
