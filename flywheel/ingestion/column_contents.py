"""What the cells of a sheet's columns hold, by which their roles are told where no name does."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from statistics import fmean
from typing import Any

from flywheel.ingestion import timestamps

Row = Mapping[str, Any]

LOOKED_AT = 5_000
"""Rows by which a column is told."""
_READ_ROWS, _READ_CHARS = 600, 300
"""Rows, and characters of each text, by which it is tried whether texts tell a column."""
_MOST_VALUES = 100
"""Classes: a column with more values is not tried as a label."""
_ADDED = 0.5
"""To each count of naive Bayes, so that nothing is impossible."""


class Sheet:
    """The columns' values, by which they are told."""

    def __init__(self, rows: Sequence[Row], there: Sequence[str], now: datetime | None) -> None:
        rows = rows[:LOOKED_AT]
        self.there = there
        self.now = now
        self.cells = {name: [row.get(name) for row in rows] for name in there}
        self.rows = len(rows)

    def filled(self, name: str) -> list[Any]:
        return [cell for cell in self.cells[name] if _is_filled(cell)]

    def values(self, name: str) -> int:
        return len({str(cell).strip() for cell in self.filled(name)})

    def length(self, name: str) -> float:
        return fmean([len(str(cell)) for cell in self.filled(name)] or [0])

    def is_number(self, name: str) -> bool:
        """Whether it holds numbers with a decimal mark or many values: measures, not classes."""
        filled = [str(cell).strip() for cell in self.filled(name)]
        numbers = sum(bool(re.fullmatch(r"-?\d+(?:[.,]\d+)?", cell)) for cell in filled)
        return numbers > 0.9 * len(filled)

    def is_time(self, name: str) -> bool:
        if self.now is None:
            return False
        return timestamps.share_read(self.filled(name)[:200], now=self.now) >= 0.8

    def is_told_by(self, text: str, name: str) -> bool:
        """Whether texts tell the column's value better than chance: so they do of a label.

        Names of agents, remarks and customers are as short and as few as labels, and texts say
        nothing about them.
        """
        if self.values(name) > _MOST_VALUES:
            return False
        pairs = [
            (str(said)[:_READ_CHARS], str(value).strip())
            for said, value in zip(self.cells[text], self.cells[name], strict=True)
            if _is_filled(said) and _is_filled(value)
        ][:_READ_ROWS]
        right, by_chance = _found_again(pairs)
        # two standard deviations of what is left to guess
        return right - by_chance > 2 * math.sqrt(len(pairs) - by_chance)


def could_name_customers(sheet: Sheet, taken: set[str]) -> dict[str, int]:
    """Columns that may hold whose a row is, those of several rows each first → their values."""
    found = {
        name: sheet.values(name)
        for name in sheet.there
        if name not in taken
        and 2 * len(sheet.filled(name)) >= sheet.rows
        and sheet.length(name) <= 60
        and sheet.values(name) > 2
        and not sheet.is_time(name)
    }
    alone = {name: count == len(sheet.filled(name)) for name, count in found.items()}
    return dict(sorted(found.items(), key=lambda one: (alone[one[0]], -one[1])))


def _is_filled(cell: Any) -> bool:
    return cell is not None and bool(str(cell).strip())


def _found_again(pairs: Sequence[tuple[str, str]]) -> tuple[int, int]:
    """How many values naive Bayes finds by the other half's texts, and the commonest one alone."""
    right = by_chance = 0
    halves = (pairs[::2], pairs[1::2])
    for learned, asked in (halves, halves[::-1]):
        sizes = Counter(value for _, value in learned)
        commonest = max(sizes, key=lambda value: (sizes[value], value), default=None)
        by_chance += sum(value == commonest for _, value in asked)
        found = _likeliest(learned, [text for text, _ in asked]) if len(sizes) > 1 else None
        guesses = [commonest] * len(asked) if found is None else found
        right += sum(guess == value for guess, (_, value) in zip(guesses, asked, strict=True))
    return right, by_chance


def _likeliest(learned: Sequence[tuple[str, str]], texts: Sequence[str]) -> list[str] | None:
    """The value of each text; None where the learned ones hold no word."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB

    words = CountVectorizer(analyzer=_pieces, binary=True)
    if not texts or not any(_pieces(text) for text, _ in learned):
        return None
    model = MultinomialNB(alpha=_ADDED)
    model.fit(words.fit_transform([text for text, _ in learned]), [value for _, value in learned])
    return [str(value) for value in model.predict(words.transform(texts))]


def _pieces(text: str) -> set[str]:
    """Words, and of scripts without spaces pairs of characters."""
    words = re.findall(r"\w+", text.casefold())
    pairs = {word[n : n + 2] for word in words for n in range(len(word) - 1) if word[0] > "\u0e00"}
    return {*words, *pairs}
