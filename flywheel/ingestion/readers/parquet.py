"""Parquet, read batch by batch; a packed file is unpacked to the disk first."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from datetime import datetime
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flywheel.errors import DataError
from flywheel.ingestion.contract import FIELDS
from flywheel.ingestion.readers.blocks import (
    ALWAYS_STREAMED,
    BREAKS,
    PIECE_BYTES,
    is_utf8,
    reader,
    unreadable,
)
from flywheel.ingestion.readers.chunk import Chunk, Row, alone, in_batches, no_rows
from flywheel.ingestion.readers.parquet_batches import batches


def parquet_chunks(stream: BinaryIO, packing: str) -> Iterator[Chunk]:
    number = 0
    with tempfile.TemporaryFile() as unpacked:
        try:
            if packing:
                read = reader(stream, packing, always=ALWAYS_STREAMED)
                while piece := read(PIECE_BYTES):
                    unpacked.write(piece)
                unpacked.seek(0)
            for batch in batches(unpacked if packing else stream):
                yield _parquet_chunk(batch, number + 1)
                number += batch.num_rows
        except BREAKS as error:
            # a ValueError is pyarrow's for a column name that is not UTF-8
            yield alone(number + 1, ("", unreadable(error)))


def _parquet_chunk(batch: pa.RecordBatch, first: int) -> Chunk:
    numbers = np.arange(first, first + batch.num_rows)

    def row(number: int) -> Row:
        return _parquet_row(batch, number - first)

    columns = _parquet_columns(batch)
    if columns is None:
        return Chunk(no_rows(), row, tuple((int(number), row(int(number))) for number in numbers))
    table = pa.table({"row_number": pa.array(numbers)} | columns)
    return Chunk(in_batches(table), row)


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
            if not is_utf8(column) or pc.any(pc.match_substring(column, "\0")).as_py():
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
