"""Whose words stand in a text: exact parts, quotes and near-duplicates of what somebody said."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence

from flywheel.text.normalize import normalise

MIN_QUOTE_CHARS = 32
"""A text that holds a shorter one of theirs need not be a quote: many people write "it broke"."""
MIN_SEARCHED_CHARS = 16
_FEW = 32
_BEGIN_CHARS = 64
_ROWS_AT_ONCE = 20_000


def within(wanted: Collection[str]) -> Callable[[str], set[str]]:
    """Says which of ``wanted`` stand in a text, as words of their own.

    The work for one text hardly grows with the number wanted: each is looked up by how it begins.
    """
    if not wanted:
        return lambda text: set()
    size = min(_BEGIN_CHARS, *map(len, wanted))
    begins: dict[str, list[str]] = defaultdict(list)
    for one in wanted:
        begins[one[:size]].append(one)

    def found(text: str) -> set[str]:
        if len(wanted) <= _FEW:
            return {one for one in wanted if one in text and _has_words(text, one)}
        every = (text[at : at + size] for at in range(len(text) - size + 1))
        # each once: a text may say the same a thousand times
        starts = {start for start in every if start in begins}
        near = {one for start in starts for one in begins[start]}
        return {one for one in near if one in text and _has_words(text, one)}

    return found


def _has_words(text: str, part: str) -> bool:
    """Whether ``part`` stands in ``text`` and is not cut out of longer words."""
    at = text.find(part)
    while at >= 0:
        before, after = text[at - 1 : at], text[at + len(part) : at + len(part) + 1]
        if not (before.isalnum() and part[0].isalnum()) and not (
            after.isalnum() and part[-1].isalnum()
        ):
            return True
        at = text.find(part, at + 1)
    return False


def quoting(held: Iterable[str]) -> Callable[[str], bool]:
    """Says of a text whether it holds a whole text of theirs, and something more.

    Case, width and spaces do not matter. Texts under `MIN_QUOTE_CHARS` are not looked for. A text
    that is equal to one of theirs is somebody else's own words, and no quote.
    """
    wanted = {text for text in map(normalise, held) if len(text) >= MIN_QUOTE_CHARS}
    found = within(wanted)

    def is_quote(text: str) -> bool:
        if not wanted or len(text) < MIN_QUOTE_CHARS:
            return False
        plain = normalise(text)
        return plain not in wanted and bool(found(plain))

    return is_quote


def find_alike(texts: Sequence[str], held: Iterable[str]) -> list[int]:
    """Row numbers of the texts that are almost, but not quite, a text of theirs."""
    wanted = sorted({text for text in held if len(normalise(text)) >= MIN_QUOTE_CHARS})
    if not wanted:
        return []
    from flywheel.text import near_duplicates

    words = {word for text in wanted for word in normalise(text).split()}
    same = {normalise(text) for text in wanted}
    # a text that shares few words with theirs is not like them, and there may be a million
    rows = [row for row, text in enumerate(texts) if _shares(text, words)]
    near: list[int] = []
    # each is compared with theirs alone, so that memory does not grow with what others said
    for begin in range(0, len(rows), _ROWS_AT_ONCE):
        part = rows[begin : begin + _ROWS_AT_ONCE]
        told = near_duplicates.alike([texts[row] for row in part], wanted, threshold=0.7)
        near += [row for row, is_near in zip(part, told, strict=True) if is_near]
    return [row for row in near if normalise(texts[row]) not in same]


def _shares(text: str, words: set[str]) -> bool:
    said = set(text.casefold().split())
    return 3 * len(said & words) >= len(said)


def searchable(held: Iterable[str], remaining: Iterable[str]) -> tuple[str, ...]:
    """The texts of theirs that must be nowhere afterwards.

    Long enough to be theirs alone, and in no text that others keep.
    """
    wanted = {text for text in held if len(text) >= MIN_SEARCHED_CHARS}
    found = within(wanted)
    shared: set[str] = set()
    for other in remaining:
        shared |= found(other)
    return tuple(sorted(wanted - shared))
