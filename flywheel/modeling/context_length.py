"""How many tokens a base can read at once, and which texts are longer than they may be.

Said before a training starts: an encoder dies with an IndexError at the first token too many, and
a base with rotary positions learns silently what it knows nothing of.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flywheel import catalog
from flywheel.catalog.base_config import settings_of
from flywheel.catalog.base_models import MANIFEST
from flywheel.config import Home, TrainingConfig, UseCase
from flywheel.errors import ConfigError

_RELATIVE = frozenset({"t5", "mt5", "umt5"})
"""Their positions are distances: ``n_positions`` is what they were trained with."""
_AFTER_PADDING = frozenset({"roberta", "xlm-roberta", "camembert"})
"""They count positions from the number behind the padding token's."""


@dataclass(frozen=True)
class Cut:
    """Of ``texts``, so many lose their end, at ``limit`` tokens; the longest has ``longest``."""

    texts: int
    cut: int
    longest: int
    limit: int
    enough: int
    """Tokens within which 99 % of the texts fit."""


def tokens_of(base: Path) -> int | None:
    """What its ``config.json`` says that it can read; None where there is no limit, or none said.

    Raises:
        OSError: there is no such file.
        DataError: it is damaged.
    """
    config = settings_of(base)
    kind = config.get("model_type")
    if kind in _RELATIVE or config.get("alibi"):
        return None
    found = config.get("max_position_embeddings") or config.get("n_positions")
    if found is None:
        return _in_catalog(base.name)
    if kind in _AFTER_PADDING:
        found -= int(config.get("pad_token_id", 1)) + 1
    return int(found)


def room(use_case: UseCase, recipe: TrainingConfig, home: Home) -> int | None:
    """What the base of a recipe can read, fetched already or not; None where it is not known."""
    if recipe.base is None or use_case.is_image:
        return None
    folder = home.models / recipe.base
    if (folder / "config.json").is_file():
        return tokens_of(folder)
    return _in_catalog(recipe.base)


def require_room(use_case: UseCase, recipe: TrainingConfig, base: str, most: int | None) -> None:
    """Refuse lengths that a base cannot read; ``most`` None refuses nothing.

    Raises:
        ConfigError: it names the setting, both numbers, and what would fit.
    """
    wanted, why = needed(use_case, recipe)
    if most is None or wanted <= most:
        return
    fits = most - (wanted - recipe.max_length_tokens)
    what = (
        f"set training.max_length_tokens to {fits} or less"
        if fits >= 8
        else "take a base that reads more"
    )
    raise ConfigError(
        f"{use_case.name}: training.max_length_tokens is {recipe.max_length_tokens}{why}, and "
        f"{base} reads {most} tokens at most. Nothing was trained; {what}."
    )


def needed(use_case: UseCase, recipe: TrainingConfig) -> tuple[int, str]:
    """Tokens that a base has to read at most, and what is added to the prompt's, in words."""
    more = []
    if use_case.is_generation:
        more.append((recipe.max_new_tokens, "max_new_tokens"))
    if recipe.method in ("prefix", "prompt"):
        more.append((recipe.virtual_tokens, "virtual_tokens"))
    total = recipe.max_length_tokens + sum(number for number, _ in more)
    said = "".join(f", with {number} of training.{name}" for number, name in more)
    return total, said


def _in_catalog(name: str) -> int | None:
    known = catalog.models().get(name)
    return known.context_tokens if known else None


def read_in_part(use_case: UseCase, home: Home, texts: Sequence[str]) -> Cut | None:
    """What `cut` says of the first base that the use case names; None where none is on disk."""
    base = next((one.base for one in use_case.training.entries() if one.base), None)
    if base is None or use_case.is_image or not (home.models / base / MANIFEST).is_file():
        return None
    return cut(use_case, home.models / base, texts)


def cut(use_case: UseCase, base: Path, texts: Sequence[str]) -> Cut:
    """Which of ``texts`` are longer than the base is given of them, in its own tokens."""
    from flywheel.modeling import classifier, model_loading

    tokenizer = model_loading.tokenizer_of(base)
    with model_loading.quiet():
        if use_case.is_generation:
            lengths = _written(use_case, tokenizer, texts)
        else:
            decodes = classifier.is_causal(base) or use_case.training.zero_shot_base == base.name
            lengths = _lengths(tokenizer, use_case.prompt if decodes else "{text}", texts)
    ordered, limit = sorted(lengths), use_case.training.max_length_tokens
    return Cut(
        texts=len(ordered),
        cut=sum(length > limit for length in ordered),
        longest=ordered[-1] if ordered else 0,
        limit=limit,
        enough=ordered[math.ceil(0.99 * len(ordered)) - 1] if ordered else 0,
    )


def _lengths(tokenizer: Any, prompt: str, texts: Sequence[str]) -> list[int]:
    """As `flywheel.modeling.prompts` joins them, and nothing cut."""
    if not texts:
        return []
    whole = [prompt.replace("{text}", " ".join(text.split())) for text in texts]
    return [len(ids) for ids in tokenizer(whole).input_ids]


def _written(use_case: UseCase, tokenizer: Any, texts: Sequence[str]) -> list[int]:
    from flywheel.modeling.chat_template import frame_for

    frame = frame_for(use_case, tokenizer)
    return [len(frame.prompt(text, limit=10**9)) for text in texts]


def in_words(found: Cut) -> str:
    """What is cut, in a sentence."""
    if not found.cut:
        return f"no text loses its end: the longest of {found.texts} has {found.longest} tokens"
    return (
        f"{found.cut} of {found.texts} texts lose their end: the longest has {found.longest} "
        f"tokens, and training.max_length_tokens is {found.limit}; 99 % have {found.enough} or "
        "fewer"
    )
