"""Prefix tuning: learned keys and values before each text, in every layer (Li and Liang 2021).

Without the projection through a network of its own, which is known to collapse on few rows; it
starts from the task's own words instead (`flywheel.modeling.verbalizer.soft_prompts`). It cannot be
merged into the base, and gradient checkpointing would drop what it learns.
"""

from __future__ import annotations

from typing import Any

from flywheel.config import TrainingConfig
from flywheel.modeling.verbalizer.verbalizer import LabelWords


def adapter(recipe: TrainingConfig) -> Any:
    """As many learned positions as the recipe has virtual tokens."""
    from peft import PrefixTuningConfig

    return PrefixTuningConfig(
        task_type="CAUSAL_LM",
        num_virtual_tokens=recipe.virtual_tokens,
        prefix_projection=False,
    )


METHOD = LabelWords(adapter)
