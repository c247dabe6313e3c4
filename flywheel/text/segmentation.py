"""Words of texts in any script.

A word is a run of letters and digits with the marks that belong to them: the vowels of Hindi,
Tamil, Thai and Arabic are marks, and without them other words look alike. Where a script puts no
spaces between words, each character, with its marks, stands alone: nothing here knows a dictionary.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise

_ASCII_WORD = re.compile(r"[^\W_]+")
_ASCII_TERM = re.compile(r"\b\w\w+\b")
_UNSPACED = re.compile(
    "["
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Myanmar
    "\u1780-\u17ff"  # Khmer
    "\u1950-\u19df\u1a20-\u1aaf"  # Tai Le, New Tai Lue, Tai Tham
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"  # Hiragana, Katakana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "]"
)
_EMOJI = re.compile(
    "["
    "\u203c\u2049\u231a-\u23ff\u25fb-\u25fe\u2600-\u27bf\u2b05-\u2b55\u3030\u303d\u3297\u3299"
    "\U0001f000-\U0001f3fa\U0001f400-\U0001faff"
    "]"
)
"""Without the tones of skin, which say nothing of what a picture means."""
_TONES = re.compile("[\U0001f3fb-\U0001f3ff]")
_UNSEEN = re.compile("[\u200b-\u200d\u2060\ufe00-\ufe0f\U000e0100-\U000e01ef]")
"""What joins or parts letters, or chooses their shape: typed or not, the word is the same."""
LONGEST_NGRAM = 3


@dataclass(frozen=True)
class Word:
    """``run`` is the same for neighbours with nothing between them."""

    text: str
    spaced: bool
    run: int


def words(text: str) -> list[str]:
    """The words of a text, as they stand in it."""
    if text.isascii():
        return _ASCII_WORD.findall(text)
    if _is_spaced(text):
        return _marked_words()[0].findall(_UNSEEN.sub("", text))
    return [word.text for word in _segments(text)]


def terms(text: str) -> list[str]:
    """What a text is told by: its words of two letters or more, and pairs of them.

    Of scripts without spaces, and of emoji: each character, and up to `LONGEST_NGRAM` in a row.
    """
    text = text.lower()
    if text.isascii():
        found = _ASCII_TERM.findall(text)
        return [*found, *map(" ".join, pairwise(found))]
    text = unicodedata.normalize("NFC", text)
    if _is_spaced(text):
        every_word = _marked_words()[1].findall(_UNSEEN.sub("", text))
        found = [word for word in every_word if len(word) > 1]
        return [*found, *map(" ".join, pairwise(found))]
    every = list(_segments(text, terms=True))
    found = [word.text for word in every if word.spaced and len(word.text) > 1]
    runs = groupby((word for word in every if not word.spaced), key=lambda word: word.run)
    grams = [gram for _, run in runs for gram in _ngrams([word.text for word in run])]
    return [*found, *map(" ".join, pairwise(found)), *grams]


def _is_spaced(text: str) -> bool:
    return not (_UNSPACED.search(text) or _EMOJI.search(text) or _TONES.search(text))


@functools.cache
def _marked_words() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What `_segments` finds in most scripts, at once: words, and words in which ``_`` counts."""
    marks = "".join(c for c in map(chr, range(0x20000)) if unicodedata.category(c).startswith("M"))
    return tuple(  # type: ignore[return-value]
        re.compile(f"{letter}+(?:[{marks}]+{letter}*)*") for letter in (r"[^\W_]", r"\w")
    )


def _ngrams(characters: list[str]) -> Iterator[str]:
    for size in range(1, LONGEST_NGRAM + 1):
        for start in range(len(characters) - size + 1):
            yield "".join(characters[start : start + size])


def _segments(text: str, *, terms: bool = False) -> Iterator[Word]:
    """The words of a text; as ``terms`` also its emoji, and ``_`` is a letter."""
    word, spaced, run = "", True, 0
    for character in _UNSEEN.sub("", text):
        if word and unicodedata.category(character).startswith("M"):
            word += character
            continue
        if terms and _EMOJI.match(word) and _TONES.match(character):
            continue
        # digits in circles are letters of their words, as they were before there were emoji
        emoji = terms and not character.isalnum() and _EMOJI.match(character) is not None
        letter = character.isalnum() or emoji or (terms and character == "_")
        apart = emoji or _UNSPACED.match(character) is not None
        if word and not (letter and spaced and not apart):
            yield Word(word, spaced, run)
            word = ""
        if not letter:
            run += 1
            continue
        run += spaced != (not apart)
        word, spaced = word + character, not apart
    if word:
        yield Word(word, spaced, run)
