"""What a training will need of memory, said before it starts: from the base's own config.

An estimate, made to be a little too high: the terms are counted from shapes; `LIBRARIES_MB` and
`SLACK` were measured on the default base, on the CPU. On a GPU it was compared with nothing yet.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from flywheel.config import TrainingConfig
from flywheel.errors import DoesNotFit

MEGABYTE = 1e6
LIBRARIES_MB = 530.0
"""Of a process that has imported what training needs."""
SLACK = 1.7
"""For what allocators keep and fragment: 597 labels of the default data peaked at 2,545 MB."""
BF16, NF4 = 2.0, 0.53
"""Bytes per weight; 4 bits and their doubly quantised scales."""
_ADAPTER_BYTES = 2 + 2 + 4
"""Per adapter weight: itself, its gradient, two moments, all bf16."""


@dataclass(frozen=True)
class Shape:
    """What of a base decides its memory. Counts, not bytes."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    key_width: int
    vocabulary: int

    @classmethod
    def of(cls, base: Path) -> Shape:
        """Read from the ``config.json`` of a base of the Llama family or alike."""
        config = json.loads((base / "config.json").read_text())
        heads = config["num_attention_heads"]
        width = config.get("head_dim") or config["hidden_size"] // heads
        return cls(
            layers=config["num_hidden_layers"],
            hidden=config["hidden_size"],
            intermediate=config["intermediate_size"],
            heads=heads,
            key_width=(config.get("num_key_value_heads") or heads) * width,
            vocabulary=config["vocab_size"],
        )

    @property
    def linear(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of the linear layers of one block."""
        h, i, k = self.hidden, self.intermediate, self.key_width
        return [(h, h), (h, k), (h, k), (h, h), (h, i), (h, i), (i, h)]

    @property
    def linear_weights(self) -> int:
        return self.layers * sum(a * b for a, b in self.linear)

    @property
    def other_weights(self) -> int:
        """Embeddings, counted once: they are tied or the head is as large again at most."""
        return self.vocabulary * self.hidden

    def adapter_weights(self, rank: int) -> int:
        return self.layers * rank * sum(a + b for a, b in self.linear)


@dataclass(frozen=True)
class Need:
    """Megabytes that a training takes at its peak."""

    libraries: float
    base: float
    adapter: float
    activations: float

    @property
    def total(self) -> float:
        return SLACK * (self.libraries + self.base + self.adapter + self.activations)


def need(shape: Shape, recipe: TrainingConfig, *, on_gpu: bool) -> Need:
    """The estimate for ``recipe``: memory of the GPU, or of this process on the CPU.

    On the CPU the base is held twice while it is unpacked. On a GPU only 4 bits of its linear
    layers are.
    """
    if on_gpu:
        base = NF4 * shape.linear_weights + BF16 * shape.other_weights
    else:
        base = 2 * BF16 * (shape.linear_weights + shape.other_weights)
    longest = recipe.max_length_tokens
    tokens = max(recipe.max_tokens_per_pass, longest)
    per_token = BF16 * (
        20 * shape.hidden + 5 * shape.intermediate + 3 * shape.heads * min(longest, tokens)
    )
    return Need(
        libraries=0.0 if on_gpu else LIBRARIES_MB,
        base=base / MEGABYTE,
        adapter=_ADAPTER_BYTES * shape.adapter_weights(recipe.lora_rank) / MEGABYTE,
        activations=per_token * shape.layers * tokens / MEGABYTE,
    )


def require_fit(base: Path, recipe: TrainingConfig, *, available_mb: float, on_gpu: bool) -> Need:
    """The need, if there is memory for it.

    Raises:
        DoesNotFit: there is not; it says what would fit.
    """
    shape = Shape.of(base)
    wanted = need(shape, recipe, on_gpu=on_gpu)
    if wanted.total <= available_mb:
        return wanted
    raise DoesNotFit(
        f"Training would take about {wanted.total:,.0f} MB "
        f"(base {wanted.base:,.0f}, adapter {wanted.adapter:,.0f}, "
        f"activations {wanted.activations:,.0f}, libraries {wanted.libraries:,.0f}, times {SLACK} "
        f"for what allocators keep) and {available_mb:,.0f} MB are free. Nothing was started. "
        f"{_advice(shape, recipe, available_mb=available_mb, on_gpu=on_gpu)}"
    )


def _advice(shape: Shape, recipe: TrainingConfig, *, available_mb: float, on_gpu: bool) -> str:
    tokens = recipe.max_tokens_per_pass
    while tokens > recipe.max_length_tokens:
        tokens = max(tokens // 2, recipe.max_length_tokens)
        smaller = recipe.model_copy(update={"max_tokens_per_pass": tokens})
        if need(shape, smaller, on_gpu=on_gpu).total <= available_mb:
            return f"training.max_tokens_per_pass: {tokens} would fit, with the same result."
    shortest = recipe.model_copy(update={"max_tokens_per_pass": 1, "max_length_tokens": 64})
    if need(shape, shortest, on_gpu=on_gpu).total <= available_mb:
        return (
            "training.max_length_tokens: 64 with as many max_tokens_per_pass would fit, if the "
            "texts are that short."
        )
    return "No setting of this base would fit: take a smaller base, or a machine with more."
