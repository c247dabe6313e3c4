"""Texts to token ids: what a person wrote is characters, whatever it looks like.

A tokenizer reads the names of its special tokens wherever they stand, also in what a customer
writes: ``<|im_end|>`` in a quoted log ends a turn. Transformers' ``split_special_tokens`` does not
prevent it where the name is a piece of the vocabulary, too, as in T5's, nor does it spare a prompt
that holds special tokens on purpose. Here a second tokenizer reads such texts: the same one, with
special tokens whose names nobody can write.

Texts that hold no special token have the ids that the tokenizer itself gives.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
"""Noncharacters of Unicode: no text that is to be exchanged may hold them."""
_LOST = "\ufffd"


class Theirs(str):
    """What a person wrote, among what a use case's author did: no special token is read in it."""


@dataclass
class _Specials:
    """The special tokens of one tokenizer."""

    backend: Any
    expected: dict[tuple[str, bool], Counter[int]] = field(default_factory=dict)

    @cached_property
    def ids(self) -> dict[str, int]:
        """By name, every one but that of the unknown."""
        tokens = self.backend.get_added_tokens_decoder()
        return {t.content: i for i, t in tokens.items() if t.special and t.content != self.unknown}

    @cached_property
    def unknown(self) -> str | None:
        """The name of what stands for the unknown, which any text may hold."""
        model = json.loads(self.backend.to_str())["model"]
        if model["type"] == "Unigram":
            return None if model["unk_id"] is None else str(model["vocab"][model["unk_id"]][0])
        return model.get("unk_token")  # type: ignore[no-any-return]

    @cached_property
    def quoting(self) -> Any:
        """The same tokenizer with other names for its special tokens."""
        from tokenizers import Tokenizer

        return Tokenizer.from_str(json.dumps(_renamed(json.loads(self.backend.to_str()))))

    def counted(self, ids: Sequence[int]) -> Counter[int]:
        known = frozenset(self.ids.values())
        return Counter(token for token in ids if token in known)


_known: WeakKeyDictionary[Any, _Specials] = WeakKeyDictionary()


def token_ids(tokenizer: Any, parts: Sequence[str], *, begins: bool = True) -> list[int]:
    """The ids of ``parts`` joined, with no special token from those that are `Theirs`.

    ``begins``: with the tokens that the tokenizer puts around every text.
    """
    ids: list[int] = tokenizer("".join(parts), add_special_tokens=begins).input_ids
    if not obeyed(tokenizer, parts, ids, begins=begins):
        return ids
    if not hasattr(tokenizer, "backend_tokenizer"):
        # one in Python alone; it would take the prompt's own special tokens for characters, too
        split: list[int] = tokenizer(
            "".join(parts), add_special_tokens=begins, split_special_tokens=True
        ).input_ids
        return split
    quoted = "".join(
        part.replace(_OPEN, _LOST) if isinstance(part, Theirs) else _rename(tokenizer, part)
        for part in parts
    )
    found: list[int] = _of(tokenizer).quoting.encode(quoted, add_special_tokens=begins).ids
    return found


def obeyed(
    tokenizer: Any, parts: Sequence[str], ids: Sequence[int], *, begins: bool = True
) -> bool:
    """Whether ``ids``, as the tokenizer gave them, hold a special token from what is `Theirs`."""
    if not hasattr(tokenizer, "backend_tokenizer"):
        return any(name in part for part in parts for name in tokenizer.all_special_tokens)
    specials = _of(tokenizer)
    theirs = [part for part in parts if isinstance(part, Theirs)]
    if specials.unknown and any(specials.unknown in part for part in theirs):
        return True
    ours = "".join(part for part in parts if not isinstance(part, Theirs))
    key = ours, begins
    if key not in specials.expected:
        bare = tokenizer(ours, add_special_tokens=begins).input_ids
        specials.expected[key] = specials.counted(bare)
    return specials.counted(ids) != specials.expected[key]


def continuation(tokenizer: Any, before: str, text: str) -> list[int]:
    """The ids of ``text`` where it stands right behind ``before``.

    Alone, SentencePiece's tokenizers would begin it with a ▁ that is not there in the whole text.
    Where both share a token, they are those of ``text`` behind a colon, or of it alone. From what
    is `Theirs` comes no special token.
    """
    theirs = isinstance(text, Theirs)
    for start in (before, ":"):
        head = _joined(tokenizer, (start,), theirs=theirs)
        whole = _joined(tokenizer, (start, text), theirs=theirs)
        if whole[: len(head)] == head and len(whole) > len(head):
            return whole[len(head) :]
    return _joined(tokenizer, (text,), theirs=theirs)


def _joined(tokenizer: Any, parts: Sequence[str], *, theirs: bool) -> list[int]:
    if theirs:
        return token_ids(tokenizer, parts, begins=False)
    return alone(tokenizer, "".join(parts))


def alone(tokenizer: Any, text: str) -> list[int]:
    """The ids of ``text`` as if nothing stood before it, or after."""
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return ids


def around(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The tokens that the tokenizer puts before every text, and behind it."""
    whole, bare = tokenizer("a").input_ids, alone(tokenizer, "a")
    for begin in range(len(whole) - len(bare) + 1):
        if whole[begin : begin + len(bare)] == bare:
            return list(whole[:begin]), list(whole[begin + len(bare) :])
    return [], []


def padding(tokenizer: Any, words: int) -> int:
    """The id that rows are filled up with, of a base with so many ``words``; nothing reads it.

    Bases without a padding token have none, and some name one that their weights lack.
    """
    named = tokenizer.pad_token_id
    return int(named) if named is not None and 0 <= named < words else 0


def _of(tokenizer: Any) -> _Specials:
    if tokenizer not in _known:
        _known[tokenizer] = _Specials(tokenizer.backend_tokenizer)
    return _known[tokenizer]


def _name(number: int) -> str:
    return f"{_OPEN}{number}{_CLOSE}"


def _rename(tokenizer: Any, text: str) -> str:
    """The special tokens of ``text`` under their other names, the longest first."""
    ids = _of(tokenizer).ids
    for name in sorted(ids, key=len, reverse=True):
        text = text.replace(name, _name(ids[name]))
    return text


def _renamed(content: dict[str, Any]) -> dict[str, Any]:
    """A tokenizer's JSON with other names for its special tokens; every id is as it was."""
    names = {}
    for token in content["added_tokens"]:
        if token["special"]:
            names[token["content"]] = _name(token["id"])
            token |= {"content": names[token["content"]], "normalized": False}
    model = content["model"]
    if model["type"] == "Unigram":
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in model["vocab"]]
        return content
    model["vocab"] = {names.get(piece, piece): number for piece, number in model["vocab"].items()}
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    if model["type"] == "BPE":
        pairs = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in model["merges"]]
        model["merges"] = [
            list(pair) for pair in pairs if not names.keys() & {*pair, "".join(pair)}
        ]
    return content
