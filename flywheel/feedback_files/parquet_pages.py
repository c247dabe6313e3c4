"""What the pages of a Parquet file say they hold, beside what its account at the end says.

The account is read first, and whoever wrote the file wrote it: 300 bytes of pages may unpack to
2 GiB that it does not mention. Each page begins with sizes of its own, by which Arrow allocates.
They are added up here, from the heads alone, before Arrow reads the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from flywheel.feedback_files.blocks import Unpacked

_HEAD_BYTES = 1 << 16
_LONGEST_HEAD = 1 << 24
_VALUE_BYTES = 8
_DEEPEST = 8
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_BY_NUMBER = (2, 8)
"""Encodings whose values are numbers in the dictionary."""
_DELTAS = (6, 7)
"""Encodings whose texts are what is added to the one before, or stand behind all lengths."""

Head = dict[int, Any]


class Lies(ValueError):
    """A page holds more than the file's account of its columns says."""

    def __init__(self) -> None:
        super().__init__("its pages hold more than the account at its end says")


def require_within(stream: IO[bytes], metadata: pq.FileMetaData, most: int) -> None:
    """Add up what all pages of a file say, from their heads.

    Raises:
        Unpacked: it is more than ``most`` bytes, or texts in lists may be.
        Lies: a column's pages hold more values than the account says, or a head is none.
    """
    left = most
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            account = metadata.row_group(group).column(column)
            left -= _column(stream, account, metadata.schema.column(column), left)


def _column(stream: IO[bytes], account: Any, schema: Any, most: int) -> int:
    """What a column takes, in bytes: unpacked, or decoded where it is texts in lists."""
    unpacked = values = texts = 0
    repeated = account.physical_type == "BYTE_ARRAY" and schema.max_repetition_level > 0
    longest = 0
    for head, at in _heads(stream, account):
        size = head[2]
        unpacked += size
        if unpacked > most:
            raise Unpacked
        told = head.get(5) or head.get(7) or head.get(8) or {}
        count = told.get(1, 0)
        if count < 0:
            raise Lies
        if head.get(1) == _DICTIONARY:
            # each value gets its place before the first is read
            unpacked += count * _VALUE_BYTES
            if repeated:
                longest = _longest(stream, head, at, account.compression)
            continue
        values += count
        encoding = told.get(4) if head.get(1) == _DATA_V2 else told.get(2)
        if repeated and encoding in _BY_NUMBER:
            texts += count * longest
        elif repeated and encoding in _DELTAS:
            texts += count * size
    if values > account.num_values:
        raise Lies
    if max(unpacked, texts, values * _VALUE_BYTES) > most:
        raise Unpacked
    return max(unpacked, texts)


def _heads(stream: IO[bytes], account: Any) -> Iterator[tuple[Head, int]]:
    """The head of each page, and where what follows it begins."""
    starts = [account.data_page_offset, account.dictionary_page_offset or account.data_page_offset]
    at = min(start for start in starts if start is not None)
    end = at + account.total_compressed_size
    seen = 0
    while at < end and seen < account.num_values:
        head, length = _head(stream, at)
        if head.get(2, -1) < 0 or head.get(3, -1) < 0:
            raise Lies
        yield head, at + length
        at += length + head[3]
        if head.get(1) in (_DATA, _DATA_V2):
            seen += (head.get(5) or head.get(8) or {}).get(1, 0)


def _longest(stream: IO[bytes], head: Head, at: int, codec: str) -> int:
    """Bytes of the longest text in a dictionary; where it cannot be told, of all together."""
    size = head[2]
    if codec == "UNCOMPRESSED":
        stream.seek(at)
        page = stream.read(head[3])
    else:
        try:
            stream.seek(at)
            packed = stream.read(head[3])
            page = pa.decompress(packed, size, codec=_CODECS[codec], asbytes=True)
        except (KeyError, pa.ArrowException, OSError, ValueError):
            return int(size)
    longest = place = 0
    while place + 4 <= len(page):
        length = int.from_bytes(page[place : place + 4], "little")
        longest = max(longest, length)
        place += 4 + length
    return min(longest, int(size))


_CODECS = {"SNAPPY": "snappy", "GZIP": "gzip", "ZSTD": "zstd", "BROTLI": "brotli", "LZ4": "lz4_raw"}

# ---- Thrift's compact protocol, as far as a page's head needs it


def _head(stream: IO[bytes], at: int) -> tuple[Head, int]:
    size = _HEAD_BYTES
    while True:
        stream.seek(at)
        content = stream.read(size)
        try:
            reading = _Reading(content)
            return reading.struct(), reading.at
        except IndexError as error:
            # a head with long texts in its statistics, or the file's end
            if len(content) < size or size >= _LONGEST_HEAD:
                raise Lies from error
            size *= 16


class _Reading:
    """Reads values from bytes, one after the other; ``at`` is how far it got."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.at = 0

    def struct(self, depth: int = 0) -> Head:
        """A struct as field number → value; what a page's head has no numbers in is passed over."""
        if depth > _DEEPEST:
            raise Lies
        found: Head = {}
        number = 0
        while (kind := self._byte()) != 0:
            step, kind = kind >> 4, kind & 15
            number = number + step if step else self._signed()
            found[number] = self._value(kind, depth)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (1, 2):
            return kind == 1
        if kind == 3:
            return self._byte()
        if kind in (4, 5, 6):
            return self._signed()
        if kind == 7:
            return self._skip(8)
        if kind == 8:
            return self._skip(self._number())
        if kind in (9, 10):
            return self._items(depth)
        if kind == 12:
            return self.struct(depth + 1)
        raise Lies

    def _items(self, depth: int) -> None:
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._number()
        for _ in range(count):
            self._value(head & 15, depth + 1)

    def _skip(self, length: int) -> None:
        if self.at + length > len(self._content):
            raise IndexError
        self.at += length

    def _byte(self) -> int:
        found = self._content[self.at]
        self.at += 1
        return found

    def _number(self) -> int:
        found = shift = 0
        while True:
            byte = self._byte()
            found |= (byte & 127) << shift
            if byte < 128:
                return found
            shift += 7
            if shift > 63:
                raise Lies

    def _signed(self) -> int:
        number = self._number()
        return (number >> 1) ^ -(number & 1)
