"""Whose words they were first, so that a forgetting takes nobody else's.

A text counts as a person's own words only where nobody had given it before them, whole or within
a longer text. Only own words can be quoted, and what was given earlier cannot quote what came
later: whoever sends others' texts again and asks to be forgotten takes none of them along.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flywheel.text.normalize import normalise
from flywheel.text.quotations import MIN_QUOTE_CHARS, MIN_SEARCHED_CHARS, within

MOST_QUOTES = 20
"""Rows by others that go without a question because they quote somebody."""


@dataclass(frozen=True, slots=True)
class Other:
    """A text that is not the person's. ``at`` is when it came, in µs since 1970."""

    table: str
    name: str
    at: int
    is_gold: bool
    text: str = field(repr=False)


@dataclass(frozen=True)
class Quoted:
    """What of others quotes a person, as row numbers.

    ``own`` are the texts that were the person's first, ``rows`` quote one of them; so do the
    ``gold`` ones, which stay. ``earlier`` ones hold words of theirs that others had given before.
    ``known`` are the texts that another had given in the same words before.
    """

    own: frozenset[str] = field(repr=False)
    known: frozenset[str] = field(repr=False)
    rows: tuple[int, ...]
    gold: tuple[int, ...]
    earlier: tuple[int, ...]


def quoted(others: Sequence[Other], theirs: Mapping[str, int]) -> Quoted:
    """Tell quotes of a person from what others had said before.

    Args:
        others: All texts that are not the person's.
        theirs: Each text of the person, and when it came first, in µs since 1970.

    Case, width and spaces do not matter. A text equal to one of theirs is no quote, and one shorter
    than `MIN_QUOTE_CHARS` is not looked for.
    """
    first: dict[str, int] = {}
    for text, at in theirs.items():
        plain = normalise(text)
        first[plain] = min(at, first.get(plain, at))
    found = within({text for text in first if len(text) >= MIN_SEARCHED_CHARS})
    held, known, same = {}, set(), set()
    # one pass: there may be a million of them
    for row, other in enumerate(others):
        plain = normalise(other.text)
        if other.at < first.get(plain, other.at):
            same.add(plain)
        if hits := found(plain):
            known |= {text for text in hits if other.at < first[text]}
            if plain not in first:
                held[row] = {text for text in hits if len(text) >= MIN_QUOTE_CHARS}
    quotes = [row for row, hits in held.items() if hits - known]
    return Quoted(
        own=frozenset(text for text in theirs if _is_own(normalise(text), known)),
        known=frozenset(text for text in theirs if normalise(text) in same),
        rows=tuple(row for row in quotes if not others[row].is_gold),
        gold=tuple(row for row in quotes if others[row].is_gold),
        earlier=tuple(row for row, hits in held.items() if hits and hits <= known),
    )


def _is_own(plain: str, known: set[str]) -> bool:
    return len(plain) >= MIN_SEARCHED_CHARS and plain not in known
