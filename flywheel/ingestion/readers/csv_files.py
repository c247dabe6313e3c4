"""CSV with a header, quoted as Excel does; rows without any cell filled are no rows."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from flywheel.errors import DataError
from flywheel.ingestion.contract import FIELDS
from flywheel.ingestion.readers.blocks import (
    BOM,
    KEPT_CHARS,
    MAX_ROW_BYTES,
    Blocks,
    fit_lines,
    lines_of,
    raw_text,
    too_long,
)
from flywheel.ingestion.readers.chunk import (
    MAX_LINES,
    Chunk,
    Row,
    alone,
    in_batches,
    no_rows,
)
from flywheel.ingestion.readers.dialect import named_separator

_FIELDS = frozenset(FIELDS)
_MAX_FAST_COLUMNS = 60
_WINDOW_LINES = 1_000


def csv_chunks(blocks: Blocks, separator: str) -> Iterator[Chunk]:
    # a mail thread is longer than the csv module's own limit
    csv.field_size_limit(MAX_ROW_BYTES)
    sheet = _Sheet(separator)
    for block, whole in blocks:
        if whole:
            yield from sheet.take(block, last=False)
        else:
            yield from sheet.take(b"", last=True)
            yield from sheet.refuse(raw_text(block)[:KEPT_CHARS], too_long())
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

    def __init__(self, separator: str) -> None:
        self.refused = False
        self._separator = separator
        self._header: list[str] | None = None
        self._number = 0
        self._tail: bytes | None = None

    def refuse(self, raw: str, fault: DataError) -> Iterator[Chunk]:
        """Yield one more row, that cannot be used."""
        self._number += 1
        yield alone(self._number, (raw, fault))

    def take(self, block: bytes, *, last: bool) -> Iterator[Chunk]:
        """Yield the rows of some lines; ``last`` says that an open record will not be closed."""
        if self._tail is None:
            block, self._tail = block.removeprefix(BOM), b""
        block, self._tail = self._tail + block, b""
        if not block or self.refused:
            return
        lines = lines_of(block)
        feed = _Records(lines, self._separator)
        while self._header is None and feed.at < len(lines):
            begin = feed.at
            raw, cells = feed.take()
            if feed.ended and not last:
                self._keep(lines, begin)
                return
            if named_separator(raw) or (isinstance(cells, list) and not any(cells)):
                continue
            if isinstance(cells, DataError) or len(set(cells)) < len(cells):
                fault = DataError("the CSV header is broken or names a column twice")
                yield from self.refuse(raw, fault)
                self.refused = True
                return
            self._header = fields_of(cells)
        while self._header is not None and feed.at < len(lines):
            yield self._chunk(self._header, lines, feed, last=last)

    def _chunk(self, header: list[str], block: pa.Array, feed: _Records, *, last: bool) -> Chunk:
        """The rows that begin in the next `MAX_LINES` lines; afterwards ``feed`` is behind them."""
        start = feed.at
        lines = block[start : start + MAX_LINES]
        fit, blank = _plain_records(lines, len(header), self._separator)
        counted = fit.astype(np.int64)
        found: list[tuple[int, Row]] = []
        for begin in np.flatnonzero(~(fit | blank)).tolist():
            if start + begin < feed.at:
                continue
            feed.at = start + begin
            raw, cells = feed.take()
            end = feed.at - start
            fit[begin:end] = blank[begin:end] = False
            counted[begin:end] = 0
            if feed.ended and not last:
                self._keep(block, start + begin)
                break
            if isinstance(cells, list) and not any(cells):
                blank[begin] = True
            else:
                counted[begin] = 1
                found.append((begin, (raw, _named(header, cells))))
        feed.at = max(feed.at, start + len(lines))
        numbers = self._number + np.cumsum(counted)
        self._number += int(counted.sum())
        odd = [(int(numbers[at]), row) for at, row in found]
        lines, numbers = lines.filter(pa.array(fit)), numbers[fit]
        table = _csv_table(header, lines, self._separator)

        def row(number: int) -> Row:
            at = int(np.searchsorted(numbers, number))
            raw, cells = _Records(lines[at : at + 1], self._separator).take()
            return raw, _named(header, cells)

        if _FIELDS.isdisjoint(header):
            # no row can be plain: each is read alone, and once, by who judges it
            table = pa.table({"row_number": pa.array(numbers)})
            return Chunk(in_batches(table), row, tuple(odd), int(blank.sum()))
        if table is None:
            odd += [(int(number), row(int(number))) for number in numbers]
            odd.sort(key=lambda one: one[0])
            return Chunk(no_rows(), row, tuple(odd), int(blank.sum()))
        table = table.add_column(0, "row_number", pa.array(numbers))
        return Chunk(in_batches(table), row, tuple(odd), int(blank.sum()))

    def _keep(self, lines: pa.Array, begin: int) -> None:
        self._tail = b"".join(lines[begin:].to_pylist())


class _Records:
    """Takes one record at a time from lines; ``at`` is the next line.

    ``ended`` says that the last record was still open when the lines ran out.
    """

    def __init__(self, lines: pa.Array, separator: str) -> None:
        self.at = 0
        self.ended = False
        self._lines = lines
        self._window: list[bytes] = []
        self._window_at = 0
        self._taken: list[bytes] = []
        self._reader = csv.reader(self, delimiter=separator, strict=True)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.at >= len(self._lines):
            self.ended = True
            raise StopIteration
        line = self._line(self.at)
        self.at += 1
        self._taken.append(line)
        return line.decode("utf-8", "surrogateescape")

    def _line(self, at: int) -> bytes:
        if not 0 <= at - self._window_at < len(self._window):
            self._window = self._lines[at : at + _WINDOW_LINES].to_pylist()
            self._window_at = at
        return self._window[at - self._window_at]

    def take(self) -> tuple[str, list[str] | DataError]:
        self._taken.clear()
        self.ended = False
        cells: list[str] | DataError
        try:
            cells = next(self._reader)
        except csv.Error as error:
            cells = DataError(f"the row is not valid CSV ({error})")
        return raw_text(b"".join(self._taken)), cells


def fields_of(header: list[str]) -> list[str]:
    """A header with our fields as we write them: people write ``Kind`` and a blank behind it."""
    plain = [cell.strip().casefold() for cell in header]
    return [
        name if name in _FIELDS and plain.count(name) == 1 else cell
        for name, cell in zip(plain, header, strict=True)
    ]


def _named(header: list[str], cells: list[str] | DataError) -> dict[str, object] | DataError:
    if isinstance(cells, DataError):
        return cells
    if len(cells) != len(header):
        return DataError(f"the row has {len(cells)} cells, the header {len(header)}")
    return dict(zip(header, cells, strict=True))


def _plain_records(lines: pa.Array, width: int, separator: str) -> tuple[Any, Any]:
    """Say for every line whether it is one record of ``width`` cells, not all of them empty.

    And whether it is one of any number of cells, all of them empty: no row.
    """
    plain = fit_lines(lines)
    blank = np.zeros(len(lines), bool)
    text = lines.filter(pa.array(plain)).view(pa.string())
    empty = pc.match_substring_regex(text, rf'\A(?:"")?(?:[{separator}](?:"")?)*\r?\n?\z')
    blank[plain] = empty.to_numpy(zero_copy_only=False)
    if width > _MAX_FAST_COLUMNS:
        return np.zeros(len(lines), bool), blank
    cell = rf'(?:[^"{separator}\r\n\x00]*|"(?:[^"\r\n\x00]|"")*")'
    record = rf"\A{cell}(?:[{separator}]{cell}){{{width - 1}}}\r?\n?\z"
    well = pc.and_(
        pc.match_substring_regex(text, record),
        pc.match_substring_regex(text, rf'[^{separator}"\r\n]'),
    )
    plain[plain] = well.to_numpy(zero_copy_only=False)
    return plain, blank


def _csv_table(header: list[str], lines: pa.Array, separator: str) -> pa.Table | None:
    """Parse lines that are one record each; None where that cannot be trusted."""
    known = {name: f"column {header.index(name)}" for name in FIELDS if name in header}
    if not len(lines):
        return no_rows().drop_columns(["row_number"])
    offsets = np.frombuffer(lines.buffers()[1], np.int32)[lines.offset :][: len(lines) + 1]
    data = lines.buffers()[2].slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
    if not known or data[: len(BOM)].to_pybytes() == BOM:
        return None
    try:
        table = pyarrow.csv.read_csv(
            pa.BufferReader(data),
            read_options=pyarrow.csv.ReadOptions(
                column_names=[f"column {index}" for index in range(len(header))]
            ),
            parse_options=pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=False),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=list(known.values()),
                column_types={name: pa.string() for name in known.values()},
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid:
        return None
    return table.rename_columns(list(known)) if table.num_rows == len(lines) else None
