"""Prompt tuning: learned embeddings before each text, in the first layer only (Lester et al. 2021).

The fewest weights of all, and the weakest on small bases; it comes near LoRA on very large ones.
"""

from __future__ import annotations

from typing import Any

from flywheel.config import TrainingConfig
from flywheel.modeling.verbalizer.verbalizer import LabelWords


def adapter(recipe: TrainingConfig) -> Any:
    """As many learned positions as the recipe has virtual tokens."""
    from peft import PromptTuningConfig

    return PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=recipe.virtual_tokens)


METHOD = LabelWords(adapter)
