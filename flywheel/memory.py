"""What a training will need of memory, said before it starts: from the base's own config.

An estimate, made to be a little too high: the terms are counted from shapes; `LIBRARIES_MB` and
`SLACK` were measured on the default base, on the CPU. On a GPU it was compared with nothing yet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from flywheel.config import TrainingConfig
from flywheel.errors import DoesNotFit
from flywheel.recipes import RECIPES, MethodName
from flywheel.shapes import BF16, Shape

MEGABYTE = 1e6
LIBRARIES_MB = 530.0
"""Of a process that has imported what training needs."""
SLACK = 1.7
"""For what allocators keep and fragment: 597 labels of the default data peaked at 2,545 MB."""
NF4 = 0.53
"""Bytes per weight of 4 bits and their doubly quantised scales."""
_LEARNED_BYTES = 4 * 4
"""Of a weight that learns, in float32: itself, its gradient, two moments."""
_SCORE_BYTES = 2 + 4 + 4
"""Per word of the vocabulary at a position that is learned: a score, in float32, its gradient."""
IN_4_BITS = frozenset({"qlora", "qlora_head", "zero_shot", "few_shot"})
ALL_WEIGHTS = frozenset({"full", "setfit"})
_LORA = frozenset({"qlora", "lora", "dora", "rslora", "qlora_head", "encoder_lora"})


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


def need(shape: Shape, recipe: TrainingConfig, *, on_gpu: bool, answer_tokens: int = 0) -> Need:
    """The estimate for ``recipe``: memory of the GPU, or of this process on the CPU.

    ``answer_tokens`` is the longest answer that is learned to be written; a label takes none.
    A slate is counted as QLoRA. On the CPU a base in 4 bits is held twice while it is unpacked; on
    a GPU only 4 bits of its linear layers are.
    """
    method = "qlora" if recipe.method == "auto" else recipe.method
    base = shape.weight_bytes * shape.weights
    if method in IN_4_BITS and on_gpu:
        base = NF4 * shape.linear_weights + BF16 * shape.other_weights
    elif method in IN_4_BITS:
        base *= 2
    longest = recipe.max_length_tokens + answer_tokens
    tokens = max(recipe.max_tokens_per_pass, longest)
    # of a pass, as many positions meet the head as answers can have
    scored = tokens * answer_tokens / longest
    per_token = shape.weight_bytes * (
        20 * shape.hidden + 5 * shape.intermediate + 3 * shape.heads * min(longest, tokens)
    )
    learned = learned_weights(shape, recipe, method)
    each: float = _LEARNED_BYTES
    if shape.weight_bytes == BF16:
        # what the model computes with, and its gradient
        each += 2 * BF16
    if method in ALL_WEIGHTS:
        # held with the base already
        each -= shape.weight_bytes
    return Need(
        libraries=0.0 if on_gpu else LIBRARIES_MB,
        base=base / MEGABYTE,
        adapter=each * learned / MEGABYTE,
        activations=(per_token * shape.layers * tokens + _SCORE_BYTES * scored * shape.vocabulary)
        / MEGABYTE,
    )


def learned_weights(shape: Shape, recipe: TrainingConfig, method: MethodName) -> int:
    """How many weights a method updates on a base, a new head not counted."""
    if method in ALL_WEIGHTS:
        return shape.weights
    if method in _LORA:
        magnitudes = sum(outputs * times for _, outputs, times in shape.linear)
        lora = shape.adapter_weights(recipe.lora_rank)
        return lora + magnitudes if method == "dora" else lora
    return {
        "prefix": 2 * shape.layers * recipe.virtual_tokens * shape.key_width,
        "prompt": recipe.virtual_tokens * shape.hidden,
        # keys, values and inner activations are scaled
        "ia3": shape.layers * (2 * shape.key_width + shape.intermediate),
    }.get(method, 0)


def require_fit(
    base: Path,
    recipe: TrainingConfig,
    *,
    available_mb: float,
    on_gpu: bool,
    answer_tokens: int = 0,
    weight_bytes: float = BF16,
) -> Need:
    """The `need`, if there is memory for it. ``weight_bytes`` are those of a causal base's weight.

    Raises:
        DoesNotFit: there is not; it says what would fit.
    """
    decodes = recipe.method == "auto" or RECIPES[recipe.method].words
    shape = Shape.of(base, decodes=decodes)
    if shape.weight_bytes == BF16:
        shape = replace(shape, weight_bytes=weight_bytes)
    wanted = need(shape, recipe, on_gpu=on_gpu, answer_tokens=answer_tokens)
    if wanted.total <= available_mb:
        return wanted
    raise DoesNotFit(
        f"Training would take about {wanted.total:,.0f} MB "
        f"(base {wanted.base:,.0f}, adapter {wanted.adapter:,.0f}, "
        f"activations {wanted.activations:,.0f}, libraries {wanted.libraries:,.0f}, times {SLACK} "
        f"for what allocators keep) and {available_mb:,.0f} MB are free. Nothing was started. "
        f"{_advice(shape, recipe, available_mb, on_gpu=on_gpu, answer_tokens=answer_tokens)}"
    )


def _advice(
    shape: Shape, recipe: TrainingConfig, available_mb: float, *, on_gpu: bool, answer_tokens: int
) -> str:
    def fits(smaller: TrainingConfig) -> bool:
        wanted = need(shape, smaller, on_gpu=on_gpu, answer_tokens=answer_tokens)
        return wanted.total <= available_mb

    tokens, least = recipe.max_tokens_per_pass, recipe.max_length_tokens + answer_tokens
    while tokens > least:
        tokens = max(tokens // 2, least)
        if fits(recipe.model_copy(update={"max_tokens_per_pass": tokens})):
            return f"training.max_tokens_per_pass: {tokens} would fit, with the same result."
    shortest = recipe.model_copy(update={"max_tokens_per_pass": 1, "max_length_tokens": 64})
    if fits(shortest):
        return (
            "training.max_length_tokens: 64 with as many max_tokens_per_pass would fit, if the "
            "texts are that short."
        )
    return "No setting of this base would fit: take a smaller base, or a machine with more."
