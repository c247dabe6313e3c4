"""Many texts and names looked for in bytes at once, in whatever way a file writes them.

A text counts as found where it stands as words of its own, not cut out of longer ones. The work
grows with the bytes and hardly with the number of texts.
"""

from __future__ import annotations

import html as markup
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

MARGIN = 96
"""Bytes around a hit by which it is told what it is part of."""
_KEYS = (8, 4)
_BITS = 20
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_FEW = 8
# letters of scripts that are written without spaces between words
_UNSPACED = 0x2E80
_BLANK_ESCAPES = (b"\\n", b"\\t", b"\\r", b"\\f", b"\\v", b"\\b")
_ESCAPE = re.compile(rb"\\u([0-9a-fA-F]{4})")
# a table writes 48213 as 48213.0 where another row has no id
_LONGER_NUMBER = re.compile(rb"(?!\.0(?!\w))(?:[\w-]|\.\d|[\x80-\xff])")
_ID_FIELD = re.compile(
    rb"(?i)(?:customer|rater|group|user|person|client|author|annotator|sender|account|member|"
    rb"contact|created_by|completed_by|updated_by)"
    rb"(?:[ _.-]?(?:ids?|key|name|no|nr|number|e-?mail))?"
    rb"(?:[\\\"' ]|&quot;|&#34;){0,8}[:=](?:[\\\"'\[ ]|&quot;|&#34;){0,8}\Z"
)


@dataclass(frozen=True)
class Sought:
    """What is looked for: ``texts``, ``names`` as words, and ``values`` of fields that hold ids."""

    texts: tuple[str, ...] = field(default=(), repr=False)
    names: tuple[str, ...] = field(default=(), repr=False)
    values: tuple[str, ...] = field(default=(), repr=False)

    def __bool__(self) -> bool:
        return bool(self.texts or self.names or self.values)

    @cached_property
    def longest(self) -> int:
        """Bytes of the longest that is looked for, as any file writes it."""
        every = (*self.texts, *self.names, *self.values)
        return max((len(form) for one in every for form in spelled(one)), default=0)

    @cached_property
    def _texts(self) -> Hits:
        return finder({form for text in self.texts for form in spelled(text)})

    @cached_property
    def _names(self) -> Hits:
        return finder({form for name in self.names for form in spelled(name)})

    @cached_property
    def _values(self) -> Hits:
        return finder({form for value in self.values for form in spelled(value)})

    def is_in(self, chunk: bytes, *, first: bool = True, last: bool = True) -> bool:
        """Whether one of them stands in these bytes.

        Unless the chunk is the ``first``, it begins with the end of the one before, and what
        begins within its first `MARGIN` bytes was judged there. Unless it is the ``last``, what
        ends within its last `MARGIN` bytes is judged with the next one.
        """
        low = 0 if first else MARGIN
        high = len(chunk) if last else len(chunk) - MARGIN

        def judged(hits: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
            return ((at, form) for at, form in hits if low <= at and at + len(form) <= high)

        return (
            any(not _is_cut(chunk, *hit, str.isalnum) for hit in judged(self._texts(chunk)))
            or any(not _is_cut(chunk, *hit, _in_name) for hit in judged(self._names(chunk)))
            or any(_is_id(chunk, *hit) for hit in judged(self._values(chunk)))
        )


def spelled(text: str) -> set[bytes]:
    """A text as plain UTF-8, as JSON writes it once and twice, as CSV, HTML and Python do."""
    return {form for one in {text, unicodedata.normalize("NFC", text)} for form in _spelled(one)}


def _spelled(text: str) -> set[bytes]:
    escaped = markup.escape(text)
    in_json = json.dumps(text)[1:-1]
    forms = {
        text,
        escaped,
        escaped.replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),
        in_json,
        json.dumps(text, ensure_ascii=False)[1:-1],
        json.dumps(in_json)[1:-1],
        text.replace('"', '""'),
        repr(text)[1:-1],
    }
    return {form.encode("utf-8", "surrogatepass") for form in forms}


def stands_in(text: str, name: str) -> bool:
    """Whether a name stands in a text as a word of its own, written as in any file."""
    return Sought(names=(name,)).is_in(text.encode("utf-8", "backslashreplace"))


# ---- Whether a hit is a word of its own


def _in_name(letter: str) -> bool:
    # in an unspaced script what follows a name is no part of it
    return (letter.isalnum() and ord(letter) < _UNSPACED) or letter in "-_"


def _is_cut(chunk: bytes, at: int, form: bytes, is_word: Callable[[str], bool]) -> bool:
    begin = form.decode("utf-8", "replace")
    before, after = _before(chunk, at), _after(chunk, at + len(form))
    return (is_word(before) and is_word(begin[0])) or (is_word(after) and is_word(begin[-1]))


def _is_id(chunk: bytes, at: int, form: bytes) -> bool:
    """Whether a value is all that a field of ids holds."""
    end = at + len(form)
    return not _LONGER_NUMBER.match(chunk, end) and bool(
        _ID_FIELD.search(chunk[max(0, at - MARGIN) : at])
    )


def _before(chunk: bytes, at: int) -> str:
    near = chunk[max(0, at - 6) : at]
    if near.endswith(_BLANK_ESCAPES):
        return " "
    if len(near) == 6 and (escape := _ESCAPE.fullmatch(near)):
        return chr(int(escape[1], 16))
    return near.decode("utf-8", "ignore")[-1:] or " "


def _after(chunk: bytes, at: int) -> str:
    near = chunk[at : at + 6]
    if escape := _ESCAPE.match(near):
        return chr(int(escape[1], 16))
    return near.decode("utf-8", "ignore")[:1] or " "


# ---- Many at once

Hits = Callable[[bytes], Iterator[tuple[int, bytes]]]
"""Yields where forms stand in bytes, and which, in no order."""


def finder(forms: Collection[bytes]) -> Hits:
    """Look for each of ``forms`` in bytes; the work hardly grows with their number."""
    found = [_of_size(key, some) for key, some in _by_key(forms).items()]
    return lambda chunk: (hit for one in found for hit in one(chunk))


def _by_key(forms: Collection[bytes]) -> dict[int, list[bytes]]:
    """Forms by the number of their last bytes that are looked up: 8, 4, or 0 for none."""
    by_key: dict[int, list[bytes]] = defaultdict(list)
    for form in sorted(set(forms)):
        by_key[next((key for key in _KEYS if len(form) >= key), 0)].append(form)
    return by_key


def _of_size(key: int, forms: list[bytes]) -> Hits:
    if not key or len(forms) <= _FEW:
        return lambda chunk: _one_by_one(chunk, forms)
    by_end: dict[int, list[bytes]] = defaultdict(list)
    for form in forms:
        by_end[int.from_bytes(form[-key:], "little")].append(form)
    known = np.zeros(1 << _BITS, dtype=bool)
    known[_slots(np.array([*by_end], dtype=np.uint64))] = True

    def found(chunk: bytes) -> Iterator[tuple[int, bytes]]:
        for offset in range(min(key, max(0, len(chunk) - key + 1))):
            keys = np.frombuffer(chunk, f"<u{key}", (len(chunk) - offset) // key, offset)
            for index in np.flatnonzero(known[_slots(keys)]).tolist():
                end = offset + (index + 1) * key
                for form in by_end.get(int(keys[index]), ()):
                    if chunk.endswith(form, 0, end):
                        yield end - len(form), form

    return found


def _slots(keys: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    slots: npt.NDArray[np.uint64] = (keys.astype(np.uint64) * _FACTOR) >> np.uint64(64 - _BITS)
    return slots


def _one_by_one(chunk: bytes, forms: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    for form in forms:
        at = chunk.find(form)
        while at >= 0:
            yield at, form
            at = chunk.find(form, at + 1)
