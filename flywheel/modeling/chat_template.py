"""How a base is asked to write: what stands around a text, and what ends an answer, as token ids.

In the base's own chat template where it has one, in the plain prompt otherwise. The same ids are
learned from and written after. A text's own words are never read as special tokens, so that no
customer can end a turn or begin one.

A prompt is encoded as the one text that it is, and an answer as what stands right behind it. Before
2026-11-30 what stands before a text, the text, what stands behind it and the answer were encoded
each for itself, to which SentencePiece's tokenizers add a ▁, and others other marks, in the middle.
Versions that learned from such ids are still asked in them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from flywheel.config import UseCase
from flywheel.errors import ConfigError, DataError
from flywheel.modeling.tokenization import Theirs, alone, around, continuation, token_ids

_TEXT = "{text}"
_ANSWER = "ANSWER"
_ANY = ("a", "1", "?", "é")
"""Texts by which two ways of encoding are told apart, beside the prompt's own words."""
_WORD, _WORDS = re.compile(r"\w+"), 8
_FAR = 10**9
"""A limit that cuts nothing."""
DATE = "1 January 2026"
"""For templates that tell the date: a prompt must be the same on every night."""


@dataclass(frozen=True)
class Frame:
    """``before`` and ``after`` stand around a text, ``head`` and ``tail`` are their ids.

    ``begin`` are the ids that the tokenizer puts before every text, where the template does not.
    ``lead`` comes before each answer's text; ``end`` is learned as its last token, and ``stops``
    end it when they are written. ``whole``: a prompt is encoded as one text; else its pieces are.
    """

    tokenizer: Any
    before: str
    after: str
    begin: tuple[int, ...]
    head: tuple[int, ...]
    tail: tuple[int, ...]
    end: int
    stops: tuple[int, ...]
    lead: str
    whole: bool

    def prompt(self, text: str, *, limit: int) -> list[int]:
        """The ids of one prompt. A long text loses its end; what stands after it stays.

        Raises:
            DataError: the prompt alone is longer than ``limit`` tokens.
        """
        room = limit - len(self.head) - len(self.tail)
        if room <= 0:
            raise DataError(f"The prompt alone is longer than {limit} tokens.")
        text = lines_of(text)
        if not self.whole:
            return [*self.head, *self._alone(text)[:room], *self.tail]
        parts = (self.before, Theirs(text), self.after)
        ids = [*self.begin, *token_ids(self.tokenizer, parts, begins=False)]
        return ids if len(ids) <= limit else [*ids[: limit - len(self.tail)], *self.tail]

    def answer(self, text: str, *, limit: int) -> list[int]:
        """The ids of a reference as it is learned; over ``limit`` it loses its end, not `end`."""
        return [*self._answered(self.lead + text.strip())[: limit - 1], self.end]

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

    def _answered(self, text: str) -> list[int]:
        if not self.whole:
            return self._alone(text)
        return continuation(self.tokenizer, self.after or "a", Theirs(text))

    def _alone(self, text: str) -> list[int]:
        return token_ids(self.tokenizer, [Theirs(text)], begins=False)


def frame_for(use_case: UseCase, tokenizer: Any, *, whole: bool = True) -> Frame:
    """The frame of a use case on the base of ``tokenizer``.

    Not ``whole``, it is that of versions which learned from pieces. Where both give the same ids
    it is, too, so that versions from before and after are the same.

    Raises:
        ConfigError: no token ends an answer, or the chat template does not hold the prompt.
    """
    asked = _asked(use_case, tokenizer)
    pieces = _pieces(use_case, tokenizer, asked)
    if not whole:
        return pieces
    found = _one_text(tokenizer, asked, pieces)
    texts = (*_ANY, *_WORD.findall(use_case.prompt)[:_WORDS])
    return pieces if all(_same(pieces, found, text) for text in texts) else found


@dataclass(frozen=True)
class _Asked:
    """A prompt as characters; ``lead`` is the space that a chat template puts before an answer."""

    before: str
    after: str
    lead: str
    templated: bool


def _asked(use_case: UseCase, tokenizer: Any) -> _Asked:
    if not tokenizer.chat_template:
        before, _, after = use_case.prompt.partition(_TEXT)
        return _Asked(before, after, " ", templated=False)
    asked = {"role": "user", "content": use_case.prompt}
    whole = _templated(tokenizer, [asked], add_generation_prompt=True)
    before, _, after = whole.partition(_TEXT)
    if whole.count(_TEXT) != 1:
        raise ConfigError(
            f"{use_case.name}: the chat template of the base holds the prompt's {_TEXT} "
            f"{whole.count(_TEXT)} times, expected once."
        )
    told = _templated(tokenizer, [asked, {"role": "assistant", "content": _ANSWER}])
    lead = told.removeprefix(whole).partition(_ANSWER)[0]
    # some put empty thoughts before an answer, which nothing learns to write
    lead = lead if told.startswith(whole) and lead.isspace() else ""
    return _Asked(before, after, lead, templated=True)


def _pieces(use_case: UseCase, tokenizer: Any, asked: _Asked) -> Frame:
    if asked.templated:
        end = _end_of_turn(tokenizer, {"role": "user", "content": use_case.prompt})
        head, lead = alone(tokenizer, asked.before), ""
    else:
        end = tokenizer.eos_token_id
        head, lead = tokenizer(asked.before).input_ids, " "
    if end is None:
        raise ConfigError(
            f"{use_case.name}: the base has no token that ends a text, so that it would never "
            "learn to stop. Take another base."
        )
    stops = {end, tokenizer.eos_token_id} - {None}
    return Frame(
        tokenizer,
        asked.before,
        asked.after,
        begin=(),
        head=tuple(head),
        tail=tuple(alone(tokenizer, asked.after)),
        end=end,
        stops=tuple(sorted(stops)),
        lead=lead,
        whole=False,
    )


def _one_text(tokenizer: Any, asked: _Asked, pieces: Frame) -> Frame:
    begin = [] if asked.templated else around(tokenizer)[0]
    behind = f"{asked.before}a"
    return replace(
        pieces,
        begin=tuple(begin),
        head=(*begin, *alone(tokenizer, asked.before)),
        tail=tuple(continuation(tokenizer, behind, asked.after) if asked.after else ()),
        lead=asked.lead,
        whole=True,
    )


def _same(one: Frame, other: Frame, text: str) -> bool:
    """Whether both encode a prompt and an answer to the same ids."""
    first, second = (
        (frame.prompt(text, limit=_FAR), frame.answer(text, limit=_FAR), frame.tail)
        for frame in (one, other)
    )
    return first == second


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
