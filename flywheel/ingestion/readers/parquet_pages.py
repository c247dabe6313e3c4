"""What the page headers of a Parquet file say, beside what its footer says.

Whoever wrote the file wrote the footer: 300 bytes of pages may unpack to 2 GiB that it does not
mention. Each page begins with a header, by whose sizes Arrow allocates. They are added up here,
from the headers alone, before Arrow reads the file.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import IO

import pyarrow as pa

from flywheel.ingestion.readers.blocks import TooManyPages, Unpacked
from flywheel.ingestion.readers.parquet_footer import Column, InvalidParquet, number_of, struct_of
from flywheel.ingestion.readers.thrift import Malformed, Reading, Struct

_HEADER_BYTES = 1 << 10
_LONGEST_HEADER = 1 << 24
_MOST_VALUES = 256
"""Of one header, which has about 20."""
_FEW_VALUES = 1 << 13
_FEW_BYTES = 1 << 16
_SMALL_PAGES = 20_000
"""Pages of few values and few bytes that any file may have."""
_BYTES_OF_A_PAGE = 1 << 10
"""Bytes of a file for which it may have one such page more."""
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_SAID_IN = {_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}
_BY_NUMBER = (2, 8)
"""Encodings whose values are numbers in the dictionary."""
_DELTAS = (6, 7)
"""Encodings whose texts are what is added to the one before, or stand behind all lengths."""


def require_within(stream: IO[bytes], columns: Iterable[Column], most: int) -> None:
    """Add up what all pages of a file say, from their headers.

    To read a header takes about 10 us, and it is 17 bytes long: of small pages a file may have some
    for each column of a row group, and more as it is longer.

    Raises:
        TooManyPages: it has more.
        Unpacked: it is more than ``most`` bytes, or texts in lists may be.
        InvalidParquet: a column's pages hold more values than the footer says, or a header cannot
            be read; or columns share their pages, whose headers would be read once for each.
    """
    columns = tuple(columns)
    size = stream.seek(0, io.SEEK_END)
    if sum(column.packed_bytes for column in columns) > size:
        raise InvalidParquet
    left = most
    small = _SMALL_PAGES + 2 * len(columns) + size // _BYTES_OF_A_PAGE
    for column in columns:
        taken, pages = _column(stream, column, left, small)
        left, small = left - taken, small - pages


def _column(stream: IO[bytes], column: Column, most: int, most_small: int) -> tuple[int, int]:
    """What a column takes, in bytes, and how many small pages it has.

    Bytes are unpacked, or decoded where it is texts in lists.
    """
    unpacked = values = texts = small = 0
    repeated = column.is_text and column.is_repeated
    longest = 0
    for header, at in _headers(stream, column):
        size, said = number_of(header, 2), _said(header)
        unpacked += size
        if unpacked > most:
            raise Unpacked
        count = number_of(said, 1)
        small += count < _FEW_VALUES and size < _FEW_BYTES
        if small > most_small:
            raise TooManyPages
        if header.get(1) == _DICTIONARY:
            # each value gets its place before the first is read
            unpacked += count * column.width
            if repeated:
                longest = _longest(stream, header, at, column.codec)
            continue
        values += count
        encoding = said.get(4) if header.get(1) == _DATA_V2 else said.get(2)
        if repeated and encoding in _BY_NUMBER:
            texts += count * longest
        elif repeated and encoding in _DELTAS:
            texts += count * size
    if values > column.values:
        raise InvalidParquet
    if max(unpacked, texts, values * column.width) > most:
        raise Unpacked
    return max(unpacked, texts), small


def _headers(stream: IO[bytes], column: Column) -> Iterator[tuple[Struct, int]]:
    """The header of each page, and where what follows it begins."""
    at, end = column.start, column.start + column.packed_bytes
    if end > stream.seek(0, io.SEEK_END):
        raise InvalidParquet
    seen = 0
    while at < end and seen < column.values:
        header, length = _header(stream, at)
        at += length
        if number_of(header, 3) > end - at:
            raise InvalidParquet
        yield header, at
        at += header[3]
        if header.get(1) in (_DATA, _DATA_V2):
            seen += number_of(_said(header), 1)


def _said(header: Struct) -> Struct:
    """What a page's header says of its values; nothing of a page that has none."""
    place = _SAID_IN.get(number_of(header, 1))
    return {1: 0} if place is None else struct_of(header, place)


def _longest(stream: IO[bytes], header: Struct, at: int, codec: int) -> int:
    """Bytes of the longest text in a dictionary; where it cannot be said, of all together."""
    size = header[2]
    if codec == 0:
        stream.seek(at)
        page = stream.read(header[3])
    else:
        try:
            stream.seek(at)
            packed = stream.read(header[3])
            page = pa.decompress(packed, size, codec=_CODECS[codec], asbytes=True)
        except (KeyError, pa.ArrowException, OSError, ValueError):
            return int(size)
    longest = place = 0
    while place + 4 <= len(page):
        length = int.from_bytes(page[place : place + 4], "little")
        longest = max(longest, length)
        place += 4 + length
    return min(longest, int(size))


_CODECS = {1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}


def _header(stream: IO[bytes], at: int) -> tuple[Struct, int]:
    size = _HEADER_BYTES
    while True:
        stream.seek(at)
        content = stream.read(size)
        try:
            reading = Reading(content, most=_MOST_VALUES)
            return reading.struct(), reading.at
        except Malformed as error:
            raise InvalidParquet from error
        except IndexError as error:
            # a header with long texts in its statistics, or the file's end
            if len(content) < size or size >= _LONGEST_HEADER:
                raise InvalidParquet from error
            size *= 16
