"""How many tokens texts have for a base: counted by its own tokenizer, or told from their bytes.

The latter is for a base that is not on disk yet, and on the careful side. Byte-level tokenizers
give no character more tokens than it has bytes, and languages that a tokenizer hardly learned come
close to that: Thai text has up to three tokens a character where English has a quarter of one. Of
numbers, as in orders, dates and logs, each digit and each sign is a token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

TOKENIZER = "tokenizer.json"
LETTERS_PER_TOKEN, FOREIGN_PER_TOKEN = 3, 2
"""Letters and spaces of ASCII: the careful side of English, which has four or five; and of texts
that have other letters, too, as Polish."""


@dataclass(frozen=True)
class Counting:
    """A way to count tokens. ``exact`` is False where it is told from bytes."""

    of: Callable[[Sequence[str]], list[int]]
    exact: bool

    @property
    def how(self) -> str:
        """In words, for the comment beside a setting."""
        if self.exact:
            return "counted by the base's own tokenizer"
        return "told from their bytes, for the base is not on disk yet"


def counting(base: Path) -> Counting:
    """By the tokenizer in the folder of a base; by bytes where there is none."""
    path = base / TOKENIZER
    if not path.is_file():
        return Counting(bounds, exact=False)
    # Hugging Face's own library, without Transformers, which takes seconds to import
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def of(texts: Sequence[str]) -> list[int]:
        # half a surrogate pair is no character, and a file of JSON can hold one
        whole = [text.encode("utf-8", "replace").decode() for text in texts]
        encoded = tokenizer.encode_batch(whole, add_special_tokens=False)
        return [len(one.ids) for one in encoded]

    return Counting(of, exact=True)


def bounds(texts: Sequence[str]) -> list[int]:
    """About so many tokens or fewer: a part of the ASCII letters, and every other byte of UTF-8."""
    return [_bound(text) for text in texts]


def _bound(text: str) -> int:
    # pieces of a word with digits are no words that a tokenizer learned
    plain = sum(_letters(word) + 1 for word in text.split() if not any(map(str.isdigit, word)))
    plain = min(plain, len(text))
    others = max(0, len(text.encode("utf-8", "replace")) - plain)
    each = LETTERS_PER_TOKEN if text.isascii() else FOREIGN_PER_TOKEN
    return -(-plain // each) + others


def _letters(word: str) -> int:
    return sum(char.isascii() and char.isalpha() for char in word)


def limit(counts: Sequence[int], *, share: float, more: int, step: int, most: int) -> int:
    """The length at ``share`` of ``counts`` and ``more``, rounded up to ``step``, ``most`` at most.

    ``counts`` is not empty; ``share`` is in [0, 1].
    """
    ordered = sorted(counts)
    wanted = ordered[int(share * (len(ordered) - 1))] + more
    return min(most, max(step, -(-wanted // step) * step))
