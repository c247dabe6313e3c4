"""When two ids name the same person, and in which spellings an id is looked for.

The same id comes with blanks around it, with characters that nobody sees, in another Unicode form,
and as the number that a table made of it. Only e-mail addresses are alike in either case: "ann" and
"Ann" may be two people.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from flywheel.text.label_spelling import trimmed, written
from flywheel.text.normalize import visible

PERSON_FIELDS = ("customer_id", "rater_id", "group_id")
"""The fields of feedback and answers whose value names a person."""
MIN_NAME_CHARS = 6
"""A shorter id may be part of anything, as a number may: it is looked for in fields of ids only."""
_FORMS: tuple[Literal["NFC", "NFD", "NFKC", "NFKD"], ...] = ("NFC", "NFD", "NFKC", "NFKD")


def canonical_id(name: str) -> str:
    """An id as it is compared: without blanks around it, in one Unicode form; idempotent."""
    if name.isascii() and name == name.strip() and "@" not in name:
        return name
    previous, result = "", name
    while result != previous:
        previous, result = result, trimmed(unicodedata.normalize("NFKC", visible(result) or result))
        result = result.casefold() if "@" in result else result
    return result


def id_in(value: object) -> str | None:
    """The id that a field holds, in its canonical form; None where it holds none."""
    if isinstance(value, str) and _is_plain(value):
        # nearly all, and there are millions of them
        return value
    try:
        # a table writes 48213 as 48213.0 where another row has no id
        name = written(value)
    except ValueError:
        return None
    return None if name is None else canonical_id(name)


def _is_plain(name: str) -> bool:
    """Whether an id is its own canonical form, as can be seen without looking at each letter."""
    return (
        name.isascii()
        and name.isprintable()
        and "@" not in name
        and bool(name)
        and name[0] != " "
        and name[-1] != " "
    )


@dataclass(frozen=True)
class Person:
    """Who is to be forgotten: the id as it was given, and all ids that are the same."""

    name: str = field(repr=False)
    ids: tuple[str, ...] = field(repr=False)

    @property
    def canonical(self) -> str:
        """The id by which they are compared and remembered."""
        return canonical_id(self.name)

    @property
    def is_word(self) -> bool:
        """Whether the id can be looked for as a word anywhere: it is long, and no number."""
        plain = self.canonical
        return len(plain) >= MIN_NAME_CHARS and not plain.isdigit()

    @property
    def words(self) -> tuple[str, ...]:
        """The spellings to look for as words of their own, in any text."""
        return self.ids if self.is_word else ()

    @property
    def values(self) -> tuple[str, ...]:
        """The spellings to look for as values of fields that hold ids."""
        return () if self.is_word else self.ids

    def is_in(self, value: object) -> bool:
        """Whether a field's value names them."""
        return value is not None and id_in(value) == self.canonical

    def hidden(self, file: str) -> str:
        """A file's name without theirs, where it stands in it as a word."""
        for name in sorted(self.ids, key=len, reverse=True):
            file = re.sub(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", "forgotten", file)
        return file


def person_of(name: str, *, found: Iterable[str] = ()) -> Person:
    """A person by one of their ids, with the ids ``found`` in a home that are the same."""
    wanted = canonical_id(name)
    spelled = {wanted, *(unicodedata.normalize(form, wanted) for form in _FORMS)}
    spelled |= {name.strip(), *(one.strip() for one in found if canonical_id(one) == wanted)}
    return Person(name, tuple(sorted(spelled - {""})))


def other_case(name: str, names: Iterable[str]) -> tuple[str, ...]:
    """The ids among ``names`` that differ from a person's by case alone, and may be another's."""
    wanted = canonical_id(name)
    alike = {canonical_id(one) for one in names} - {wanted}
    return tuple(sorted(one for one in alike if one.casefold() == wanted.casefold()))
