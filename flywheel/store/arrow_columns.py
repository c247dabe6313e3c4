"""Whole columns handed to DuckDB through Arrow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def strings(values: Iterable[str | None]) -> pa.Array:
    """Return a column of texts."""
    return pa.array(list(values), pa.string())


def times(values: Iterable[datetime]) -> pa.Array:
    """Return a column of UTC times, to the microsecond."""
    return pa.array(list(values), pa.timestamp("us", tz="UTC"))


def from_us(microseconds: int) -> datetime:
    """Return the UTC time so many microseconds after the epoch."""
    return _EPOCH + timedelta(microseconds=microseconds)


@contextmanager
def incoming(
    con: duckdb.DuckDBPyConnection, table: pa.Table | pa.RecordBatchReader
) -> Iterator[None]:
    """Let statements in the block read ``table`` under the name ``incoming``."""
    con.register("incoming", table)
    try:
        yield
    finally:
        con.unregister("incoming")
