"""A chunk: many rows of a feedback file at once, any of them also alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from flywheel.errors import DataError

_BATCH_ROWS = 20_000
MAX_LINES = 100_000
"""Of one chunk: rows are judged in Python too, where each takes more room than its line."""

# One row of any format: the raw text for quarantine, and its fields or why there are none.
Row = tuple[str, dict[str, object] | DataError]


@dataclass(frozen=True)
class Chunk:
    """Some rows of a file, each either in ``table`` or in ``odd``; ``row_number`` counts from 1.

    ``table`` has ``row_number`` (ascending) and either ``line``, a JSON text each, or the columns
    of `contract.FIELDS` that the file has, without a NUL. ``row`` gives one row of it, by its
    ``row_number``, as `parse_feedback` wants it. ``odd`` are the rows that cannot be in a table.
    ``blank`` counts the blank lines among them, which are no rows.
    """

    table: pa.Table
    row: Callable[[int], Row]
    odd: tuple[tuple[int, Row], ...] = ()
    blank: int = 0


def alone(number: int, row: Row) -> Chunk:
    return Chunk(no_rows(), lambda _: row, ((number, row),))


def rows_of(chunk: Chunk) -> Iterator[Row]:
    """Each row, in the order of the file."""
    odd = dict(chunk.odd)
    for number in sorted([*odd, *chunk.table["row_number"].to_pylist()]):
        yield odd[number] if number in odd else chunk.row(number)


def no_rows() -> pa.Table:
    return pa.table({"row_number": pa.array([], pa.int64())})


def in_batches(table: pa.Table) -> pa.Table:
    """Cut a table into batches, for several threads to take."""
    return pa.Table.from_batches(table.to_batches(max_chunksize=_BATCH_ROWS), table.schema)
