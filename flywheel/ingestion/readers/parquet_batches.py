"""Parquet in batches of bounded size, whatever a file of a few bytes says that it holds.

A value that is repeated stands in a file once, and decoded as often as it is repeated: 2 kB hold
65,000 times a text of 25 kB. So texts are read by their numbers in the file's dictionary, their
sizes are added up, and only what `most_unpacked` allows is decoded. Texts in lists, and those that
are written as what is added to the one before, have no numbers: of these few rows are read at once.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flywheel.ingestion.readers import parquet_pages
from flywheel.ingestion.readers.blocks import Unpacked, most_unpacked
from flywheel.ingestion.readers.parquet_footer import Column, InvalidParquet, columns_of, footer_of

_ROWS = 65_536
_FEWEST_ROWS = 16
"""At a time, where texts cannot be read by number."""
_PART_BYTES = 32 * 2**20


def read_table(stream: IO[bytes]) -> pa.Table:
    """The whole file, with the schema it has.

    Raises:
        Unpacked: it holds more than its size allows.
    """
    found = list(batches(stream))
    return pa.Table.from_batches(found, None if found else pq.read_schema(stream))


def batches(stream: IO[bytes], *, whole: bool = False) -> Iterator[pa.RecordBatch]:
    """The rows of a seekable file, at most about 32 MiB at a time.

    ``whole`` reads on whatever it unpacks to, as who looks for somebody's rows must.

    Raises:
        Unpacked: it holds more than its size allows; what was given before is within that.
        InvalidParquet: it contradicts itself.
    """
    size = stream.seek(0, io.SEEK_END)
    most = left = sys.maxsize if whole else most_unpacked(size)
    # what it says of itself costs little; nothing else is read before that is judged
    footer = footer_of(stream)
    said = pq.ParquetFile(stream)
    schema, columns = said.schema_arrow, columns_of(footer, said.schema)
    _require_within(columns, most)
    if not whole:
        parquet_pages.require_within(stream, columns, most)
    texts = {column.path for column in columns if column.is_text}
    numbered = texts.intersection(schema.names) - {c.path for c in columns if c.is_delta}
    rows = _ROWS if numbered == texts else _few_rows(columns)
    file = pq.ParquetFile(stream, read_dictionary=sorted(numbered))
    for batch in file.iter_batches(batch_size=rows):
        sizes = _row_bytes(batch)
        left -= int(sizes.sum())
        if left < 0:
            raise Unpacked
        for part in _parts(batch, sizes):
            yield _decoded(part, schema)


def _few_rows(columns: list[Column]) -> int:
    """Rows to read at a time, where each may take as much as all texts of its column."""
    largest = max((column.unpacked_bytes for column in columns if column.is_delta), default=0)
    return max(1, min(_FEWEST_ROWS, _PART_BYTES // max(largest, 1)))


def _require_within(columns: list[Column], most: int) -> None:
    """Refuse a file whose own footer says that its columns are more than ``most`` bytes."""
    values = sum(column.values * column.width for column in columns)
    if max(values, sum(column.unpacked_bytes for column in columns)) > most:
        raise Unpacked


def _row_bytes(batch: pa.RecordBatch) -> Any:
    """What each row takes decoded, in bytes."""
    sizes = np.zeros(batch.num_rows, np.int64)
    for column in batch.columns:
        if pa.types.is_dictionary(column.type) and _is_text(column.type.value_type):
            lengths = pc.binary_length(column.dictionary).fill_null(0).to_numpy(False)
            sizes += _looked_up(lengths, column.indices)
        else:
            sizes += column.nbytes // max(batch.num_rows, 1)
    return sizes


def _looked_up(lengths: Any, places: pa.Array) -> Any:
    """The length at each place, 0 where there is none; Arrow has not looked whether all exist."""
    named = places.drop_null().to_numpy(False)
    if len(named) and not 0 <= named.min() <= named.max() < len(lengths):
        raise InvalidParquet
    return lengths[places.fill_null(0).to_numpy(False)] if len(named) else 0


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def _parts(batch: pa.RecordBatch, sizes: Any) -> Iterator[pa.RecordBatch]:
    numbers = np.cumsum(sizes) // _PART_BYTES
    cuts = [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist(), batch.num_rows]
    for first, last in pairwise(cuts):
        if last > first:
            yield batch.slice(first, last - first)


def _decoded(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch as the file's own schema has it."""
    columns = [_as(column, field.type) for column, field in zip(batch.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _as(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if column.type == kind:
        return column
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column if column.type == kind else column.cast(kind)
