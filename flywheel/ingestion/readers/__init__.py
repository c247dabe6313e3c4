"""Feedback files in chunks: JSON Lines, CSV and Parquet; the first two plain, ``.gz`` or ``.zst``.

A chunk holds many rows as one Arrow table, for the store to judge set-wise, and gives any of its
rows alone, for `parse_feedback` to judge. Memory is bounded by the chunk, never by the file.
Where a file breaks off, the whole rows before the break are kept and one last row stands for the
rest. Blank lines are no rows. Spreadsheets' separators and encodings are told from the beginning.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from flywheel.errors import DataError
from flywheel.ingestion.feedback import parse_feedback
from flywheel.ingestion.readers.blocks import (
    ALWAYS_STREAMED,
    MAX_ROW_BYTES,
    Blocks,
    packing_of,
    reader,
)
from flywheel.ingestion.readers.chunk import Chunk, Row, rows_of
from flywheel.ingestion.readers.csv_files import csv_chunks
from flywheel.ingestion.readers.dialect import Dialect, as_utf8, dialect_of, peeked, sniff_dialect
from flywheel.ingestion.readers.jsonl import json_chunks
from flywheel.ingestion.readers.parquet import parquet_chunks
from flywheel.records import Feedback

__all__ = [
    "MAX_ROW_BYTES",
    "SUFFIXES",
    "Chunk",
    "Dialect",
    "Row",
    "as_utf8",
    "chunks",
    "dialect_of",
    "judge",
    "packing_of",
    "rows_of",
]

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


def chunks(name: str, stream: BinaryIO) -> Iterator[Chunk]:
    """Read a file to its end or to where it breaks.

    Args:
        name: Its name, which says the format (one of `SUFFIXES`).
        stream: Its bytes, seekable where it is Parquet.
    """
    packing, name = packing_of(name.lower())
    if name.endswith(".parquet"):
        yield from parquet_chunks(stream, packing)
        return
    sheet = name.endswith(".csv")
    head, read = peeked(reader(stream, packing, always=ALWAYS_STREAMED))
    dialect = sniff_dialect(head, sheet=sheet)
    blocks = Blocks(as_utf8(read, dialect))
    yield from csv_chunks(blocks, dialect.separator) if sheet else json_chunks(blocks)


def judge(
    row: Row, labels: tuple[str, ...], *, by_customer: bool = True
) -> Feedback | tuple[str, str]:
    """Return the feedback that a row holds, or (raw row, reason) where it is refused."""
    raw, fields = row
    try:
        if isinstance(fields, DataError):
            raise fields
        return parse_feedback(fields, labels=labels, by_customer=by_customer)
    except DataError as error:
        return raw, error.message
