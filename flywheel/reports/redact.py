"""A page without somebody's texts: whatever the template escaped is found as it was said.

Nothing is looked for in tags, because the templates write nobody's words into attributes.
"""

from __future__ import annotations

import html as markup
import re
from collections.abc import Callable, Collection

from flywheel.text.normalize import normalise
from flywheel.text.quotations import MIN_SEARCHED_CHARS, within

FORGOTTEN = "[forgotten]"
_PARTS = re.compile(r"(<!--.*?-->|<style\b.*?</style\s*>|<[^>]*>)", re.DOTALL | re.IGNORECASE)
# where the template puts what a customer wrote, or an identifier, and nothing else
_WHOLE = re.compile(r"""<[^>]*\bclass=["'](?:said|id)["']""")


def forget(html: str, texts: Collection[str], *, names: Collection[str] = ()) -> str:
    """Return a page in which each of ``texts`` reads ``[forgotten]``; others keep every byte.

    Case, width, spaces and the way of escaping do not matter. A text under
    `flywheel.text.quotations.MIN_SEARCHED_CHARS` is replaced only where it is all that is quoted:
    it may be anybody's words elsewhere. ``names`` are replaced wherever they stand as words.
    Idempotent.
    """
    exact = {plain for text in texts if (plain := normalise(text))}
    found = within({text for text in exact if len(text) >= MIN_SEARCHED_CHARS})
    named = _named(names)
    parts = _PARTS.split(html)
    for index in range(0, len(parts), 2):
        if parts[index].strip():
            whole = index > 0 and bool(_WHOLE.match(parts[index - 1]))
            parts[index] = _without(parts[index], exact, found, named, whole=whole)
    return "".join(parts)


def _without(
    node: str,
    exact: Collection[str],
    found: Callable[[str], set[str]],
    named: re.Pattern[str] | None,
    *,
    whole: bool,
) -> str:
    """The words between two tags without theirs."""
    said = markup.unescape(node)
    plain = normalise(said)
    if plain in exact and (whole or len(plain) >= MIN_SEARCHED_CHARS):
        return FORGOTTEN
    left = said
    for text in sorted(found(plain), key=len, reverse=True):
        cut = _spaced(text).sub(FORGOTTEN, left)
        if text in normalise(cut):
            # written in letters that only fold to theirs: nothing of it is kept
            return FORGOTTEN
        left = cut
    if named is not None:
        left = named.sub(FORGOTTEN, left)
    return node if left == said else markup.escape(left)


def _spaced(text: str) -> re.Pattern[str]:
    words = r"\s+".join(re.escape(word) for word in text.split())
    return re.compile(rf"{_edge(text[0], '<!')}{words}{_edge(text[-1], '!')}", re.IGNORECASE)


def _edge(letter: str, side: str) -> str:
    return rf"(?{side}[^\W_])" if letter.isalnum() else ""


def _named(names: Collection[str]) -> re.Pattern[str] | None:
    if not names:
        return None
    alternatives = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    return re.compile(rf"(?<![^\W_])(?:{alternatives})(?![^\W_])")
