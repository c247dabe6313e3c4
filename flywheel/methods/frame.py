"""How a base is asked to write: what stands around a text, and what ends an answer, as token ids.

In the base's own chat template where it has one, in the plain prompt otherwise. The same ids are
learned from and written after. A text's own words are never read as special tokens, so that no
customer can end a turn or begin one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flywheel.config import UseCase
from flywheel.errors import ConfigError, DataError
from flywheel.tokenization import Theirs, token_ids

_TEXT = "{text}"
_ANSWER = "ANSWER"
DATE = "1 January 2026"
"""For templates that tell the date: a prompt must be the same on every night."""


@dataclass(frozen=True)
class Frame:
    """``head`` and ``tail`` stand around a text; ``end`` is learned as an answer's last token.

    ``stops`` end an answer when they are written. ``lead`` comes before each answer's text.
    """

    tokenizer: Any
    head: tuple[int, ...]
    tail: tuple[int, ...]
    end: int
    stops: tuple[int, ...]
    lead: str

    def prompt(self, text: str, *, limit: int) -> list[int]:
        """The ids of one prompt. A long text loses its end; what stands after it stays.

        Raises:
            DataError: the prompt alone is longer than ``limit`` tokens.
        """
        room = limit - len(self.head) - len(self.tail)
        if room <= 0:
            raise DataError(f"The prompt alone is longer than {limit} tokens.")
        return [*self.head, *self._ids(lines_of(text))[:room], *self.tail]

    def answer(self, text: str, *, limit: int) -> list[int]:
        """The ids of a reference as it is learned; over ``limit`` it loses its end, not `end`."""
        return [*self._ids(self.lead + text.strip())[: limit - 1], self.end]

    def read(self, ids: Sequence[int]) -> str:
        """The text that was written, up to the first stop."""
        kept = []
        for token in ids:
            if token in self.stops:
                break
            kept.append(token)
        text = str(self.tokenizer.decode(kept, skip_special_tokens=True))
        # a base can write any byte; no text that people gave holds this one
        return text.replace("\0", "").strip()

    def _ids(self, text: str) -> list[int]:
        return token_ids(self.tokenizer, [Theirs(text)], begins=False)


def frame_for(use_case: UseCase, tokenizer: Any) -> Frame:
    """The frame of a use case on the base of ``tokenizer``.

    Raises:
        ConfigError: no token ends an answer, or the chat template does not hold the prompt.
    """
    if not tokenizer.chat_template:
        before, _, after = use_case.prompt.partition(_TEXT)
        end = tokenizer.eos_token_id
        head = tokenizer(before).input_ids
        tail, lead = tokenizer(after, add_special_tokens=False).input_ids, " "
    else:
        asked = {"role": "user", "content": use_case.prompt}
        whole = _templated(tokenizer, [asked], add_generation_prompt=True)
        before, _, after = whole.partition(_TEXT)
        if whole.count(_TEXT) != 1:
            raise ConfigError(
                f"{use_case.name}: the chat template of the base holds the prompt's {_TEXT} "
                f"{whole.count(_TEXT)} times, expected once."
            )
        end = _end_of_turn(tokenizer, asked)
        head = tokenizer(before, add_special_tokens=False).input_ids
        tail, lead = tokenizer(after, add_special_tokens=False).input_ids, ""
    if end is None:
        raise ConfigError(
            f"{use_case.name}: the base has no token that ends a text, so that it would never "
            "learn to stop. Take another base."
        )
    stops = {end, tokenizer.eos_token_id} - {None}
    return Frame(tokenizer, tuple(head), tuple(tail), end, tuple(sorted(stops)), lead)


def lines_of(text: str) -> str:
    """The text with single spaces and no empty lines; its lines stay, for turns are lines."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def _end_of_turn(tokenizer: Any, asked: dict[str, str]) -> int | None:
    """The special token that the template puts after an answer; without one, the base's own."""
    told = {"role": "assistant", "content": _ANSWER}
    rest = _templated(tokenizer, [asked, told]).rpartition(_ANSWER)[2]
    ids = tokenizer(rest, add_special_tokens=False).input_ids
    if ids and ids[0] in tokenizer.all_special_ids:
        return int(ids[0])
    return None if tokenizer.eos_token_id is None else int(tokenizer.eos_token_id)


def _templated(tokenizer: Any, messages: list[dict[str, str]], **how: Any) -> str:
    found = tokenizer.apply_chat_template(messages, tokenize=False, date_string=DATE, **how)
    return str(found)
