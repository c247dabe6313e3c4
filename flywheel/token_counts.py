"""How many tokens texts have for a base: counted by its own tokenizer, or bounded by their bytes.

The bound is for a base that is not on disk yet. Byte-level tokenizers give no character more tokens
than it has bytes, and languages that a tokenizer hardly learned come close to that: Thai text has
up to three tokens a character where English has a third of one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

TOKENIZER = "tokenizer.json"
ASCII_PER_TOKEN = 3
"""Characters: the careful side of English, which has four or five."""


@dataclass(frozen=True)
class Counting:
    """A way to count tokens. ``exact`` is False where it gives a bound."""

    of: Callable[[Sequence[str]], list[int]]
    exact: bool

    @property
    def how(self) -> str:
        """In words, for the comment beside a setting."""
        if self.exact:
            return "counted by the base's own tokenizer"
        return "at most, from their bytes: the base is not on disk yet"


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
    """At most so many tokens: a third of the ASCII characters, and every other byte of UTF-8."""
    return [_bound(text) for text in texts]


def _bound(text: str) -> int:
    plain = sum(map(str.isascii, text))
    others = len(text.encode("utf-8", "replace")) - plain
    return -(-plain // ASCII_PER_TOKEN) + others


def limit(counts: Sequence[int], *, share: float, more: int, step: int, most: int) -> int:
    """The length at ``share`` of ``counts`` and ``more``, rounded up to ``step``, ``most`` at most.

    ``counts`` is not empty; ``share`` is in [0, 1].
    """
    ordered = sorted(counts)
    wanted = ordered[int(share * (len(ordered) - 1))] + more
    return min(most, max(step, -(-wanted // step) * step))
