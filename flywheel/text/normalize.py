"""When two texts count as the same text, and how one stands in a table."""

from __future__ import annotations

import hashlib
import html
import re
import unicodedata

_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal obeys instead of showing it: escape sequences, and turns of the direction."""
_MARKUP = re.compile(r"[\\`\[\]|]")
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)
"""What a reader does not see: Unicode's default-ignorable code points."""


def visible(text: str) -> str:
    """Return ``text`` without the characters that nobody sees.

    For comparing only: some scripts and pictures need them to look right.
    """
    return text if text.isascii() else _INVISIBLE.sub("", text)


def normalise(text: str) -> str:
    """Return ``text`` without differences of case, width or spacing; idempotent."""
    # Folding can undo NFKC and NFKC can undo folding, hence both twice (Unicode 3.13, D146).
    folded = unicodedata.normalize("NFD", text).casefold()
    folded = unicodedata.normalize("NFKC", folded).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def is_longer(text: str, most: int) -> bool:
    """Whether a text has more than ``most`` characters, as written and after :func:`normalise`."""
    return len(text) > most and len(normalise(text)) > most


def text_id(text: str) -> str:
    """Return 32 hex digits that are equal exactly for texts equal after :func:`normalise`."""
    return hashlib.sha256(normalise(text).encode()).hexdigest()[:32]


def printable(text: str) -> str:
    """A text as a terminal may show it: control characters as they are written in Python."""
    return _COMMANDS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def table_cell(text: str) -> str:
    """A text in one cell of a Markdown table, where it is nothing but text.

    Labels and identifiers may hold line breaks, pipes and markup: a picture would tell its host
    who reads the page, and a heading could say what did not happen.
    """
    plain = _MARKUP.sub(r"\\\g<0>", html.escape(" ".join(printable(text).split()), quote=False))
    # addresses become links without any markup
    return plain.replace("://", ":&#47;&#47;").replace("www.", "www&#46;")
