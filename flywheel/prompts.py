"""The one place that turns an example into what the model reads."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from flywheel.config import UseCase
from flywheel.errors import DataError


def render(use_case: UseCase, text: str) -> str:
    """The prompt for one text; the label is the word that comes next."""
    return use_case.prompt.replace("{text}", " ".join(text.split()))


def label_words(use_case: UseCase) -> tuple[str, ...]:
    """Each label as the model would continue the prompt, in the use case's label order."""
    return tuple(f" {label}" for label in use_case.label_names)


def opening(tokenizer: Any, use_case: UseCase) -> list[int]:
    """Token ids with which prompts begin, whatever the text; a text may still join the last one."""
    texts = [tokenizer(render(use_case, text)).input_ids for text in ("a", "1", "?", "é")]
    alike = takewhile(lambda tokens: len(set(tokens)) == 1, zip(*texts, strict=False))
    return [tokens[0] for tokens in alike]


def encode(tokenizer: Any, use_case: UseCase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each prompt. A long text loses its end; the words after it in the prompt stay.

    Raises:
        DataError: the prompt alone is longer than ``training.max_length_tokens``.
    """
    tail = use_case.prompt.partition("{text}")[2]
    limit = use_case.training.max_length_tokens
    encoded = []
    for text in texts:
        ids = tokenizer(render(use_case, text)).input_ids
        if len(ids) > limit:
            end = tokenizer(tail, add_special_tokens=False).input_ids
            # some, as T5's, end every text with a token of their own
            if ids[-1] in tokenizer.all_special_ids and ids[-1:] != end[-1:]:
                end = [*end, ids[-1]]
            if len(end) >= limit:
                raise DataError(f"The prompt of {use_case.name} is longer than {limit} tokens.")
            ids = ids[: limit - len(end)] + end
        encoded.append(ids)
    return encoded
