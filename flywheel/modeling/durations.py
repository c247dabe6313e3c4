"""How long a night takes on this machine: as the last training took, or by a product measured now.

Counted are the products of matrices of training and of scoring the holdout; they are nearly all of
it where a base is read. An estimate from a product supposes texts that fill ``max_length_tokens``,
so that it is an upper bound for shorter ones.
"""

from __future__ import annotations

from collections.abc import Sequence

from flywheel.catalog.memory import ALL_WEIGHTS
from flywheel.catalog.shapes import Shape
from flywheel.config import TrainingConfig
from flywheel.records import NightRecord

SHARE = 0.5
"""Of a product's speed that training as a whole reaches: 0.4 to 0.65 on CPUs where it was measured.
The rest is norms, attention and tensors handed on."""
_FORWARD, _BACK, _OF_WEIGHTS = 2, 2, 2
"""Operations per weight and token: of a pass forwards, of its gradient back to the adapter, and of
the weights' own gradients where they learn."""


def of_training(shape: Shape, recipe: TrainingConfig, rows: int) -> float:
    """Operations of learning from so many rows."""
    per_token: float = _FORWARD * shape.linear_weights
    if not recipe.recipe.learns:
        return per_token * recipe.max_length_tokens * rows
    per_token += _BACK * shape.linear_weights
    if recipe.method in ALL_WEIGHTS:
        per_token += _OF_WEIGHTS * shape.linear_weights
    return per_token * recipe.max_length_tokens * rows * epochs(recipe, rows)


def of_scoring(shape: Shape, recipe: TrainingConfig, rows: int) -> float:
    """Operations of reading so many rows once."""
    return float(_FORWARD * shape.linear_weights) * recipe.max_length_tokens * rows


def epochs(recipe: TrainingConfig, rows: int) -> int:
    """The recipe's, or as many as its least number of optimiser steps takes."""
    per_epoch = max(1, -(-rows // recipe.batch_size))
    return max(recipe.epochs, -(-recipe.min_steps // per_epoch))


def seconds(operations: float, gflops: float) -> float:
    """At a product's measured speed."""
    return operations / (SHARE * gflops * 1e9)


def last_training(nights: Sequence[NightRecord]) -> tuple[float, int] | None:
    """Seconds and examples of the newest night that trained; None: none did."""
    for night in reversed(nights):
        facts = night.facts
        taken, examples = facts.get("train_seconds"), facts.get("trained_examples")
        if facts.get("new_examples") is not None:
            # it went on from another, and learned from a part
            examples = facts["new_examples"] + (facts.get("replayed_examples") or 0)
        if taken and examples:
            return float(taken), int(examples)
    return None


def in_words(duration: float) -> str:
    """Seconds as a person says them."""
    if duration < 90:
        return f"{max(1, round(duration))} s"
    if duration < 90 * 60:
        return f"{round(duration / 60)} min"
    return f"{duration / 3_600:.1f} hours"
