"""A fast look for what can hold a person's ids or words, before each row is read in full.

A history has millions of rows, and a person few. A row that holds no clue is nobody's to forget;
one that holds a clue may be. What is not ASCII can be written in many ways, and is always read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from flywheel.privacy.byte_search import Hits, finder
from flywheel.text.normalize import normalise

_RUNS = re.compile(r"[a-z0-9]+")
# JSON may escape these in either of two ways
_PLAIN = re.compile(r'[^/"\\\s\x00-\x1f\x7f]+')
_LINES = re.compile(rb"[^\n]*\n|[^\n]+")
_WORDS_EACH = 4
_MAX_SHORT = 16
_SPACED = r"\s\s|[\t\n\v\f\r]"


@dataclass(frozen=True)
class Clues:
    """The shortest parts by which rows are told: of ``ids`` whole, of ``texts`` some words.

    Without ``texts`` nobody's words are looked for.
    """

    ids: frozenset[str] = field(default=frozenset(), repr=False)
    texts: frozenset[str] = field(default=frozenset(), repr=False)

    @cached_property
    def _parts(self) -> frozenset[str] | None:
        """What is looked for, in lower case; None where some have no part that is ASCII."""
        parts: set[str] = set()
        for name in self.ids:
            found = [run for run in _PLAIN.findall(name.lower()) if run.isascii()]
            if name.isascii() and not found:
                return None
            parts |= {max(found, key=len)} if name.isascii() else set()
        for text in filter(str.isascii, map(normalise, self.texts)):
            if not (found := words(text, 1)):
                return None
            parts |= set(found)
        return frozenset(parts)

    @cached_property
    def _hits(self) -> Hits | None:
        parts = self._parts
        return None if parts is None else finder({part.encode() for part in parts})

    def lines(self, block: bytes) -> Iterator[tuple[bytes, bool]]:
        """The lines of a block, runs of those without a clue as one; and whether there is one."""
        if self._hits is None:
            yield from ((line, True) for line in _LINES.findall(block))
            return
        at = 0
        for begin, end in self._spans(block, self._hits):
            if begin > at:
                yield block[at:begin], False
            yield block[begin:end], True
            at = end
        if at < len(block):
            yield block[at:], False

    def _spans(self, block: bytes, hits: Hits) -> Iterator[tuple[int, int]]:
        """Where the lines with a clue begin and end, in order."""
        places = [np.array([at for at, _ in hits(block.lower())], dtype=np.int64)]
        places.append(np.array([at for at, _ in finder([b"\\u"])(block)], dtype=np.int64))
        if not block.isascii():
            places.append(np.flatnonzero(np.frombuffer(block, np.uint8) >= 0x80))
        ends = np.flatnonzero(np.frombuffer(block, np.uint8) == 0x0A)
        numbers = np.unique(np.searchsorted(ends, np.concatenate(places)))
        for number in numbers.tolist():
            begin = int(ends[number - 1]) + 1 if number else 0
            yield begin, int(ends[number]) + 1 if number < len(ends) else len(block)


def words(text: str, most: int = _WORDS_EACH) -> list[str]:
    """The longest words of a text in one case; none where it has none.

    They stand in every ASCII text that holds this one, whatever its case and spaces.
    """
    found = set(_RUNS.findall(normalise(text)))
    return sorted(found, key=lambda run: (-len(run), run))[:most]


def may_hold(texts: Iterable[str]) -> Callable[[pa.StringArray], npt.NDArray[np.bool_]]:
    """Says of each of many texts whether it may hold, be, or be almost like, one of ``texts``."""
    # what is not ASCII is only in texts that are not ASCII, and these are all looked into
    plain = {one for one in map(normalise, texts) if one and one.isascii()}
    short = {text for text in plain if len(text) < _MAX_SHORT}
    long = [words(text) for text in plain - short]
    if not all(long):
        return lambda column: np.ones(len(column), dtype=bool)
    hits = finder({word.encode() for some in long for word in some})

    def found(column: pa.StringArray) -> npt.NDArray[np.bool_]:
        size = pc.binary_length(column)
        odd = pc.not_equal(size, pc.utf8_length(column))
        if short:
            bare = pc.ascii_lower(pc.ascii_trim_whitespace(column))
            same = pc.is_in(bare, pa.array(sorted(short), column.type))
            spaced = pc.match_substring_regex(column, _SPACED)
            odd = pc.or_(odd, pc.or_(same, pc.and_(spaced, pc.less(size, 4 * _MAX_SHORT))))
        mask: npt.NDArray[np.bool_] = odd.to_numpy(zero_copy_only=False).astype(bool)
        mask[_rows_hit(pc.ascii_lower(column), hits)] = True
        return mask

    return found


def _rows_hit(column: pa.StringArray, hits: Hits) -> npt.NDArray[np.int64]:
    """The rows of a column in whose bytes something was found; a hit across two rows may count."""
    if not len(column):
        return np.array([], dtype=np.int64)
    width = np.int64 if pa.types.is_large_string(column.type) else np.int32
    ends = np.frombuffer(column.buffers()[1], width)[
        column.offset : column.offset + len(column) + 1
    ]
    content = bytes(memoryview(column.buffers()[2] or b"")[int(ends[0]) : int(ends[-1])])
    places = np.array([at for at, _ in hits(content)], dtype=np.int64) + int(ends[0])
    rows: npt.NDArray[np.int64] = np.unique(np.searchsorted(ends, places, side="right") - 1)
    return rows


def clues(ids: Collection[str], texts: Collection[str] = ()) -> Clues:
    """Clues to rows that name one of ``ids``, or hold one of ``texts``."""
    return Clues(frozenset(ids), frozenset(texts))
