"""The one place that turns an example into what the model reads."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from flywheel.config import UseCase
from flywheel.errors import DataError
from flywheel.modeling import tokenization
from flywheel.modeling.tokenization import Theirs

_TEXT = "{text}"
_ANY = ("a", "1", "?", "é")
"""Texts that have no token in common."""


def render(use_case: UseCase, text: str) -> str:
    """The prompt for one text; the label is the word that comes next."""
    return "".join(parts(use_case, text))


def parts(use_case: UseCase, text: str) -> tuple[str, Theirs, str]:
    """What `render` joins; the text in the middle is the customer's."""
    before, _, after = use_case.prompt.partition(_TEXT)
    return before, Theirs(" ".join(text.split())), after


def label_words(use_case: UseCase) -> tuple[str, ...]:
    """Each label as the model would continue the prompt, in the use case's label order."""
    return tuple(f" {label}" for label in use_case.label_names)


def label_tokens(tokenizer: Any, use_case: UseCase) -> list[list[int]]:
    """Token ids of each label word where it stands: behind the prompt."""
    prompt = render(use_case, "a")
    return [tokenization.continuation(tokenizer, prompt, word) for word in label_words(use_case)]


def spelling(tokenizer: Any, use_case: UseCase) -> list[list[int]] | None:
    """`label_tokens`, where they are not those of the words alone; None where they are.

    Before 2026-11-30 each word was put as if nothing stood before it.
    """
    found = label_tokens(tokenizer, use_case)
    apart = [tokenization.alone(tokenizer, word) for word in label_words(use_case)]
    return None if found == apart else found


def behind_text(tokenizer: Any, use_case: UseCase) -> list[int]:
    """Token ids of what stands behind a text that is cut.

    Where label words were always put right, it is put as ever: alone, whatever stands before it.
    """
    before, _, after = parts(use_case, "")
    if not after or spelling(tokenizer, use_case) is None:
        return tokenization.alone(tokenizer, after)
    return tokenization.continuation(tokenizer, f"{before}a", after)


def opening(tokenizer: Any, use_case: UseCase, *, behind: str | None = None) -> list[int]:
    """Token ids with which prompts begin, whatever the text; a text may still join the last one.

    ``behind`` is as in `encode`.
    """
    texts = [_whole(tokenizer, use_case, text, behind) for text in _ANY]
    alike = takewhile(lambda tokens: len(set(tokens)) == 1, zip(*texts, strict=False))
    return [tokens[0] for tokens in alike]


def encode(
    tokenizer: Any, use_case: UseCase, texts: Sequence[str], *, behind: str | None = None
) -> list[list[int]]:
    """Token ids of each prompt. A long text loses its end; the words after it in the prompt stay.

    What looks like a special token in a text is characters. ``behind`` is what the prompts stand
    right behind, where that is read already; then they do not begin as a text does.

    Raises:
        DataError: the prompt alone is longer than ``training.max_length_tokens``.
    """
    limit = use_case.training.max_length_tokens
    encoded, end = [], None
    for text in texts:
        ids = _whole(tokenizer, use_case, text, behind)
        if len(ids) > limit:
            end = behind_text(tokenizer, use_case) if end is None else end
            # some, as T5's, end every text with a token of their own
            last = ids[-1:] if ids[-1] in tokenizer.all_special_ids else []
            tail = end if last == end[-1:] else [*end, *last]
            if len(tail) >= limit:
                raise DataError(f"The prompt of {use_case.name} is longer than {limit} tokens.")
            ids = ids[: limit - len(tail)] + tail
        encoded.append(ids)
    return encoded


def _whole(tokenizer: Any, use_case: UseCase, text: str, behind: str | None) -> list[int]:
    """The prompt's ids, however long."""
    own = parts(use_case, text)
    if behind is None:
        return tokenization.token_ids(tokenizer, own)
    start = tokenization.alone(tokenizer, behind)
    ids = tokenization.token_ids(tokenizer, (behind, *own), begins=False)
    if ids[: len(start)] == start:
        return ids[len(start) :]
    # both share a token
    return tokenization.token_ids(tokenizer, own, begins=False)
