"""A new head on a causal base in 4 bits, LoRA beneath it: what label words are compared with.

The head has to be learned from nothing, so that it takes more epochs than label words do.
"""

from __future__ import annotations

from typing import Any

from flywheel.config import TrainingConfig
from flywheel.modeling.methods.finetuned_head import TunedHead


def adapter(recipe: TrainingConfig) -> Any:
    """LoRA on all linear layers of a body that has no head of its own."""
    from peft import LoraConfig

    return LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="FEATURE_EXTRACTION",
    )


METHOD = TunedHead(causal=True, adapter=adapter)
