"""The methods that a use case may name, what each needs, and what its settings are when unnamed.

Plain facts, read by the configuration; the methods themselves are in `flywheel.modeling.methods`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flywheel.config.task_types import Kind

Family = Literal["causal", "encoder", "encoder-decoder", "vision", "none"]
MethodName = Literal[
    "qlora",
    "lora",
    "dora",
    "rslora",
    "prefix",
    "prompt",
    "ia3",
    "qlora_head",
    "frozen_head",
    "encoder_lora",
    "full",
    "setfit",
    "tfidf",
    "zero_shot",
    "few_shot",
]


@dataclass(frozen=True)
class Recipe:
    """``bases`` says on which families of bases a method works; empty: on none, it needs none.

    ``min_steps`` are optimiser steps that it gets however few rows there are: two epochs of a
    couple hundred rows are too few of them.
    """

    summary: str
    bases: tuple[Family, ...]
    words: bool = False
    """Whether answers are words, scored or written by the base's own head."""
    kinds: tuple[Kind, ...] = ("text-classification",)
    learns: bool = True
    """Whether it has optimiser steps, and so epochs and a learning rate."""
    epochs: int = 2
    learning_rate: float = 5e-4
    min_steps: int = 0
    continues: bool = False
    """Whether it can go on from an adapter of its own."""


_WRITES: tuple[Family, ...] = ("causal", "encoder-decoder")
_ENCODES: tuple[Family, ...] = ("encoder", "encoder-decoder")
_BOTH: tuple[Kind, ...] = ("text-classification", "text-generation")


def _lora(summary: str) -> Recipe:
    return Recipe(
        summary,
        _WRITES,
        words=True,
        kinds=_BOTH,
        learning_rate=1e-3,
        min_steps=50,
        continues=True,
    )


RECIPES: dict[MethodName, Recipe] = {
    "qlora": _lora("the base's own words, LoRA on it in 4 bits"),
    "lora": _lora("the base's own words, LoRA on it, not in 4 bits"),
    "dora": _lora("the base's own words, LoRA with magnitudes apart"),
    "rslora": _lora("the base's own words, LoRA scaled by the root of its rank"),
    "prefix": Recipe(
        "label words, learned keys and values before each text",
        ("causal",),
        words=True,
        learning_rate=1e-2,
        min_steps=100,
    ),
    "prompt": Recipe(
        "label words, learned embeddings before each text",
        ("causal",),
        words=True,
        learning_rate=2e-2,
        min_steps=150,
    ),
    "ia3": Recipe(
        "label words, learned scales of keys, values and inner activations",
        ("causal",),
        words=True,
        learning_rate=1e-2,
        min_steps=100,
    ),
    "qlora_head": Recipe(
        "a new head on a causal base, LoRA on it in 4 bits",
        ("causal",),
        epochs=5,
        learning_rate=1e-3,
        min_steps=50,
    ),
    "frozen_head": Recipe(
        "a new head on a frozen base", (*_ENCODES, "causal", "vision"), learns=False
    ),
    "encoder_lora": Recipe(
        "a new head on an encoder, LoRA on it", (*_ENCODES, "vision"), min_steps=150
    ),
    "full": Recipe(
        "a new head on an encoder, all weights learn",
        (*_ENCODES, "vision"),
        learning_rate=5e-5,
        min_steps=150,
    ),
    "setfit": Recipe(
        "an encoder learns which texts belong together, then a head",
        _ENCODES,
        epochs=1,
        learning_rate=5e-5,
    ),
    "tfidf": Recipe("logistic regression on TF-IDF weights", (), learns=False),
    "zero_shot": Recipe(
        "words of the base as it is", _WRITES, words=True, learns=False, kinds=_BOTH
    ),
    "few_shot": Recipe(
        "label words of the base after a few examples", ("causal",), words=True, learns=False
    ),
}
