"""Whether a text is in a language that the use case does not serve, and whether it was cut off.

py3langid (BSD-3-Clause; Lui and Baldwin 2012, ACL demos) knows 139 languages; it is imported on
first use. It errs on short texts, on names and on product codes, so only a confident verdict on a
text of some length counts. Close languages (Danish and Norwegian, Spanish and Galician) share
their probability and are rarely told apart confidently: such texts stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from flywheel.errors import ConfigError

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

MIN_LETTERS = 40
"""Texts with fewer letters are never judged."""
MIN_CONFIDENCE = 0.95
"""Lowest probability that a text is in none of the languages, for it to count as foreign."""
MIN_SHARE = 0.5
"""Lowest probability of the likeliest language: lists of product names are in none."""


def foreign(text: str, *, languages: Sequence[str]) -> bool:
    """Whether ``text`` is, with confidence, in none of ``languages``.

    Always False when ``languages`` is empty and for texts of fewer than ``MIN_LETTERS`` letters.

    Args:
        text: Any string.
        languages: ISO 639-1 codes in lower case, such as "en".

    Raises:
        ConfigError: a language is not one that can be recognised.
    """
    if not languages:
        return False
    _refuse_unknown(tuple(languages))
    if sum(map(str.isalpha, text)) < MIN_LETTERS:
        return False
    served = set(languages)
    ranked = _identifier().rank(text)
    likeliest, share = ranked[0]
    if likeliest in served or share < MIN_SHARE:
        return False
    ours = sum(share for language, share in ranked if language in served)
    return bool(ours <= 1 - MIN_CONFIDENCE)


def likeliest(text: str) -> str:
    """ISO 639-1 code of the likeliest language; ``unsure`` for short texts and doubtful ones."""
    if sum(map(str.isalpha, text)) < MIN_LETTERS:
        return "unsure"
    name, share = _identifier().rank(text)[0]
    return str(name) if share >= MIN_SHARE else "unsure"


def truncated(text: str) -> bool:
    """Whether ``text`` ends inside a character: a cut through its bytes or its code units.

    True only where nothing but a cut can be the cause: the text ends with U+FFFD, which decoders
    put for half a character, with a lone leading surrogate, or with a joiner that joins nothing.
    A cut between two characters leaves no such trace. A missing full stop or a closing ellipsis is
    how people write, and a length at a service's limit can be chance, so neither counts here.
    """
    last = text.rstrip()[-1:]
    return last in ("\ufffd", "\u200d") or "\ud800" <= last <= "\udbff"


@cache
def _identifier() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@cache
def _refuse_unknown(languages: tuple[str, ...]) -> None:
    unknown = sorted(set(languages) - set(_identifier().labels))
    if unknown:
        raise ConfigError(
            f"Languages are given as ISO 639-1 codes such as 'en'; {unknown} cannot be recognised. "
            "No text was judged; correct the list, or leave it empty to accept every language.",
            languages=unknown,
        )
