"""What a thumb, a star or a word says of an answer: one table for all sources.

Booleans and known words react; 1 is a thumb up, 0 and -1 are one down; any other number is a
rating. Nothing written is no feedback. An unknown word is refused with its row, never guessed.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from flywheel.config import SourceConfig

REFUSED = "refused"
"""The field of a row that says why it is none: a key of `flywheel.ingestion.feedback.REFUSALS`."""

_UP = frozenset({
    "up", "thumbsup", "thumbup", "upvote", "upvoted", "voteup", "like", "liked", "love", "loved",
    "good", "great", "positive", "pos", "yes", "y", "true", "correct", "right", "helpful", "accept",
    "accepted", "approve", "approved", "satisfied", "happy", "👍", "❤", "😀", "😃", "😄", "🙂",
    "😊", "😍", "✅", "✔", "+", "+1", "goodwithcomment",
    "ja", "oui", "sí", "sì", "sim", "tak", "да", "はい", "是", "是的", "예", "네",
})  # fmt: skip
_DOWN = frozenset({
    "down", "thumbsdown", "thumbdown", "downvote", "downvoted", "votedown", "dislike", "disliked",
    "hate", "hated", "bad", "terrible", "negative", "neg", "no", "n", "false", "incorrect", "wrong",
    "unhelpful", "nothelpful", "reject", "rejected", "disapprove", "disapproved", "unsatisfied",
    "dissatisfied", "unhappy", "👎", "🙁", "☹", "😞", "😠", "😡", "❌", "✖", "badwithcomment",
    "nein", "nee", "nej", "non", "não", "nao", "nie", "нет", "いいえ", "否", "不是",
    "아니요", "아니오",
})  # fmt: skip
_NOTHING = frozenset({
    "none", "null", "nil", "nan", "na", "n/a", "<na>", "unset", "unrated", "notrated", "undefined",
    "offered", "unoffered", "notoffered",
})  # fmt: skip
"""What programs write where nobody rated; Zendesk whether it asked."""
_THUMBS = (-1.0, 0.0, 1.0)
_NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)?")
_OF_MANY = re.compile(r"(\d+(?:[.,]\d+)?)\s*(?:(?:/|of|out of)\s*\d+(?:\s*stars?)?|stars?|★|⭐|%)")
_STARS = re.compile("[★⭐]+[☆ ]*")
_VARIANTS = re.compile("[\U0001f3fb-\U0001f3ff\ufe0e\ufe0f\u200d]")
"""Skin tones, and whether a sign is shown as a picture."""


def reaction(
    value: object, *, is_thumb: bool = True, words: Mapping[str, str] | None = None
) -> dict[str, Any] | None:
    """The fields of a reaction; None where nothing was said.

    Args:
        value: A rating as its system wrote it.
        is_thumb: Whether 1, 0 and -1 are thumbs. Else they are ratings: 1 of 5 stars is the worst.
        words: What words mean in this system, written in those that are known.
    """
    if isinstance(value, str):
        value = (words or {}).get(value.strip(), value)
    if isinstance(value, bool):
        return {"kind": "accept" if value else "reject"}
    number = _number(value)
    if number is not None and is_thumb and number in _THUMBS:
        return {"kind": "accept" if number > 0 else "reject"}
    if number is not None:
        return _rate(number)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return _said(value) if isinstance(value, str) else {REFUSED: "rating"}


def reactions(values: Iterable[object], source: SourceConfig) -> list[dict[str, Any] | None]:
    """The reaction of each rating of one source, read with its settings."""
    values = list(values)
    words = source.values.get("rating", {})
    is_thumb = are_thumbs(values) if source.ratings is None else source.ratings == "thumbs"
    return [reaction(value, is_thumb=is_thumb, words=words) for value in values]


def are_thumbs(values: Iterable[object]) -> bool:
    """Whether 0 and 1 among these ratings are thumbs.

    They are stars or points where other numbers stand beside them, unless -1 does too: no star is.
    """
    numbers = {number for value in values if (number := _number(value)) is not None}
    return -1.0 in numbers or numbers <= {0.0, 1.0}


def _said(written: str) -> dict[str, Any] | None:
    text = _VARIANTS.sub("", unicodedata.normalize("NFC", written)).strip().casefold()
    if _STARS.fullmatch(text):
        return _rate(text.count("★") + text.count("⭐"))
    if found := _OF_MANY.fullmatch(text):
        return _rate(float(found[1].replace(",", ".")))
    # thumbs_up, thumbs-up, Thumbs up!, :thumbsup:
    word = re.sub(r"[\s_:.!-]", "", text) if re.search(r"[a-z]", text) else "".join(text.split())
    if not word or word in _NOTHING:
        return None
    if len(set(word)) == 1:
        # 👍👍👍
        word = word[0]
    if word in _UP:
        return {"kind": "accept"}
    return {"kind": "reject"} if word in _DOWN else {REFUSED: "rating"}


def _rate(number: float) -> dict[str, Any]:
    return {"kind": "rate", "value": f"{number:.15g}"}


def _number(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        written = value.strip()
        return float(written.replace(",", ".")) if _NUMBER.fullmatch(written) else None
    try:
        # Decimal, and the numbers of Arrow and NumPy too
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
