"""The footer of a Parquet file, read without Arrow.

Arrow ends the process where a column's metadata contradict themselves (a histogram of levels that
the column does not have), or where columns are nested too deep, and no `except` holds that.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from flywheel.ingestion.readers.thrift import Malformed, Reading, Struct

_TAIL_BYTES = 8
_LONGEST = 1 << 24
_MOST_VALUES = 2_000_000
"""A footer has about 30 for a column of a row group."""
_TEXT = 6
_DELTAS = (5, 6, 7)
_DEEPEST = 64
"""Levels of nested columns: Arrow's stack ends at some thousands."""
_VALUE_BYTES = 8
"""Of a value in memory at least: a number, or where a text begins."""


class InvalidParquet(pa.ArrowInvalid):  # type: ignore[misc]
    """The footer cannot be read, or the pages hold more than it says."""

    def __init__(self) -> None:
        super().__init__("its footer cannot be read, or its pages do not agree with it")


@dataclass(frozen=True)
class Column:
    """A column of a row group: ``values`` in ``packed_bytes`` from ``start`` in the file.

    ``codec`` is Parquet's number of it, 0 where nothing is packed. ``width`` is what each value
    takes in memory, in bytes, beside what a text holds.
    """

    path: str
    is_text: bool
    is_repeated: bool
    is_delta: bool
    codec: int
    values: int
    unpacked_bytes: int
    packed_bytes: int
    start: int
    width: int = _VALUE_BYTES


def footer_of(stream: IO[bytes]) -> Struct:
    """What the footer says; to be asked for before Arrow opens the file.

    Raises:
        InvalidParquet: it cannot be read, or its columns are nested too deep.
    """
    footer = _footer(stream)
    open_groups: list[int] = []
    for element in _list(footer, 2):
        while open_groups and not open_groups[-1]:
            open_groups.pop()
        if open_groups:
            open_groups[-1] -= 1
        fields = _struct(element)
        if 5 in fields and (children := number_of(fields, 5)):
            open_groups.append(children)
        if len(open_groups) > _DEEPEST:
            raise InvalidParquet
    return footer


def columns_of(footer: Struct, schema: pq.ParquetSchema) -> list[Column]:
    """The columns of all row groups.

    Raises:
        InvalidParquet: the footer does not say what they are.
    """
    groups = _list(footer, 4)
    found = []
    for group in groups:
        chunks = _list(_struct(group), 1)
        if len(chunks) != len(schema):
            raise InvalidParquet
        found += [
            _column(struct_of(_struct(said), 3), schema.column(place))
            for place, said in enumerate(chunks)
        ]
    return found


def _footer(stream: IO[bytes]) -> Struct:
    end = stream.seek(0, io.SEEK_END) - _TAIL_BYTES
    stream.seek(max(end, 0))
    length = int.from_bytes(stream.read(4), "little")
    if not 0 < length <= min(end, _LONGEST):
        raise InvalidParquet
    stream.seek(end - length)
    try:
        return Reading(stream.read(length), most=_MOST_VALUES).struct()
    except (IndexError, Malformed) as error:
        raise InvalidParquet from error


def _column(said: Struct, described: pq.ColumnSchema) -> Column:
    encodings = _list(said, 2)
    starts = [number_of(said, 9), number_of(said, 11) if 11 in said else 0]
    return Column(
        path=".".join(_text(name) for name in _list(said, 3)),
        is_text=number_of(said, 1) == _TEXT,
        is_repeated=described.max_repetition_level > 0,
        is_delta=any(encoding in _DELTAS for encoding in encodings),
        codec=number_of(said, 4),
        values=number_of(said, 5),
        unpacked_bytes=number_of(said, 6),
        packed_bytes=number_of(said, 7),
        start=min((start for start in starts if start > 0), default=0),
        width=max(_VALUE_BYTES, described.length or 0),
    )


def number_of(fields: Struct, place: int) -> int:
    """A size, a count or a kind.

    Raises:
        InvalidParquet: there is none, or less than nothing.
    """
    found = fields.get(place)
    if not isinstance(found, int) or found < 0:
        raise InvalidParquet
    return found


def struct_of(fields: Struct, place: int) -> Struct:
    """A struct in a struct.

    Raises:
        InvalidParquet: there is none.
    """
    return _struct(fields.get(place))


def _struct(found: Any) -> Struct:
    if not isinstance(found, dict):
        raise InvalidParquet
    return found


def _list(fields: Struct, place: int) -> list[Any]:
    found = fields.get(place)
    if not isinstance(found, list):
        raise InvalidParquet
    return found


def _text(found: Any) -> str:
    if not isinstance(found, bytes):
        raise InvalidParquet
    return found.decode("utf-8", "surrogateescape")
