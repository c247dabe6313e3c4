"""When two spellings are the same label, and what in a cell is no label at all."""

from __future__ import annotations

import json
import math
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import lru_cache

from flywheel.text.normalize import normalise, visible

INVISIBLE = "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
"""Characters without width that copying and pasting leaves at the ends of words."""
_PLACEHOLDERS = frozenset({"n/a", "na", "n.a.", "none", "null", "nan", "nil", "undefined"})
"""What programs and people write where there is no text. As labels these are names like others."""


def trimmed(label: str) -> str:
    """Without blanks and invisible characters at its ends, in Unicode's composed form."""
    previous, result = "", label
    while result != previous:
        previous, result = result, result.strip().strip(INVISIBLE)
    return unicodedata.normalize("NFC", result)


def is_blank(text: str) -> bool:
    """Whether nothing is to be seen: only blanks, control and invisible characters."""
    return all(unicodedata.category(char)[0] in "ZC" for char in text)


def is_placeholder(text: str) -> bool:
    """Whether a text stands for a missing one: N/A, null, or punctuation alone."""
    folded = normalise(text)
    return folded in _PLACEHOLDERS or all(unicodedata.category(char)[0] in "PZC" for char in text)


def written(value: object) -> str | None:
    """A cell as a label; None where it holds none.

    A whole number is written without a decimal point, for tables keep integers as floats beside a
    missing one. Booleans are ``true`` and ``false``.

    Raises:
        ValueError: it holds a structure, or what no file can hold; the message says what.
    """
    if value is None or (isinstance(value, float | Decimal) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        return str(int(value)) if value == value // 1 else str(value)
    if not isinstance(value, str):
        raise ValueError(f"a structure ({type(value).__name__})")
    if "\0" in value:
        raise ValueError("a NUL byte")
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueError("broken Unicode")
    return None if is_blank(value) else trimmed(value)


def is_json(label: str) -> bool:
    """Whether a cell holds a list or an object, written as text: labeling tools put several
    choices of one text so."""
    if label[:1] not in ("[", "{"):
        return False
    try:
        found = json.loads(label)
    except (ValueError, RecursionError):
        return False
    # [1] may be a star rating's name
    return isinstance(found, dict) or any(isinstance(one, str | dict) for one in found)


def alike(counts: Mapping[str, int]) -> list[tuple[str, ...]]:
    """Labels that differ only in case, width, spaces, Unicode form or what nobody sees.

    The commonest of each first.
    """
    found: dict[str, list[str]] = defaultdict(list)
    for label in counts:
        found[_seen(label)].append(label)
    return [
        tuple(sorted(same, key=lambda label: (-counts[label], label)))
        for same in found.values()
        if len(same) > 1
    ]


def ordered(labels: Iterable[str], counts: Mapping[str, int]) -> list[str]:
    """Numbers by value, other labels by how common they are; equals stay as they come."""
    labels = list(labels)
    numbers = [_number(label) for label in labels]
    if all(number is not None for number in numbers):
        return [label for _, label in sorted(zip(numbers, labels, strict=True))]
    return sorted(labels, key=lambda label: -counts[label])


def _number(label: str) -> float | None:
    try:
        value = float(label)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def match(value: str, labels: tuple[str, ...]) -> str | None:
    """The label of ``labels`` that ``value`` means: itself, trimmed, or the only one alike.

    Characters that nobody sees tell no two labels apart unless the use case has both.
    """
    if value in labels:
        return value
    for spelling, known in zip(_SPELLINGS, _spellings(labels), strict=True):
        if near := known.get(spelling(value)):
            return near[0] if len(near) == 1 else None
    return None


@lru_cache(maxsize=8)
def _spellings(labels: tuple[str, ...]) -> tuple[dict[str, list[str]], ...]:
    found: tuple[dict[str, list[str]], ...] = tuple({} for _ in _SPELLINGS)
    for label in labels:
        for spelling, known in zip(_SPELLINGS, found, strict=True):
            known.setdefault(spelling(label), []).append(label)
    return found


def _folded(label: str) -> str:
    return normalise(trimmed(label))


def _seen(label: str) -> str:
    return _folded(visible(label))


_SPELLINGS = (trimmed, _folded, _seen)
