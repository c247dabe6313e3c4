"""When two texts count as the same text, and how one stands in a table."""

from __future__ import annotations

import hashlib
import html
import unicodedata


def normalise(text: str) -> str:
    """Return ``text`` without differences of case, width or spacing; idempotent."""
    # Folding can undo NFKC and NFKC can undo folding, hence both twice (Unicode 3.13, D146).
    folded = unicodedata.normalize("NFD", text).casefold()
    folded = unicodedata.normalize("NFKC", folded).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def text_id(text: str) -> str:
    """Return 32 hex digits that are equal exactly for texts equal after :func:`normalise`."""
    return hashlib.sha256(normalise(text).encode()).hexdigest()[:32]


def table_cell(text: str) -> str:
    """A text in one cell of a Markdown table; labels may hold line breaks, pipes and markup."""
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|")
