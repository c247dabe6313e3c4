"""Reads values that were written in Thrift's compact protocol, without a schema.

Parquet describes itself and its pages in it. Arrow reads the same, but ends the process where a
description contradicts itself, so that nobody else's file is judged by what Arrow says of it.
"""

from __future__ import annotations

from typing import Any

_DEEPEST = 12
_BITS = 63
_LAST_FIELD = 32_767

Struct = dict[int, Any]
"""Field number → value."""


class Malformed(ValueError):
    """These bytes are no struct."""


class Reading:
    """Reads values from bytes, one after the other; ``at`` is how far it got.

    It reads ``most`` values: one byte may be a struct, which takes a hundred in memory.
    """

    def __init__(self, content: bytes, *, most: int) -> None:
        self._content = content
        self._left = most
        self.at = 0

    def struct(self, depth: int = 0) -> Struct:
        """The struct that begins here.

        Raises:
            IndexError: the bytes end before it does.
            Malformed: these are no values, too many, or they lie in one another too deep.
        """
        found: Struct = {}
        number = 0
        while (kind := self._byte()) != 0:
            step, kind = kind >> 4, kind & 15
            number = number + step if step else self._signed()
            if number in found or not 0 <= number <= _LAST_FIELD:
                # another reader may take the one of two that this one passes over
                raise Malformed
            found[number] = self._value(kind, depth)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        self._left -= 1
        if depth > _DEEPEST or self._left < 0:
            raise Malformed
        if kind in (1, 2):
            return kind == 1
        if kind == 3:
            return self._byte()
        if kind in (4, 5, 6):
            return self._signed()
        if kind == 7:
            return self._bytes(8)
        if kind == 8:
            return self._bytes(self._number())
        if kind in (9, 10):
            return self._items(depth)
        if kind == 12:
            return self.struct(depth + 1)
        raise Malformed

    def _items(self, depth: int) -> list[Any]:
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._number()
        if head & 15 in (1, 2):
            # in a list, a truth value takes a byte
            return [byte == 1 for byte in self._bytes(count)]
        return [self._value(head & 15, depth + 1) for _ in range(count)]

    def _bytes(self, length: int) -> bytes:
        found = self._content[self.at : self.at + length]
        if len(found) < length:
            raise IndexError
        self.at += length
        return found

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
            if shift > _BITS:
                raise Malformed

    def _signed(self) -> int:
        number = self._number()
        return (number >> 1) ^ -(number & 1)
