"""QLoRA: LoRA on all linear layers but the head, the base in 4 bits (Dettmers et al. 2023).

Adapting all linear layers rather than attention alone is worth more than the choice of the base.
"""

from __future__ import annotations

from typing import Any

from flywheel.config import TrainingConfig
from flywheel.modeling.generation import Writing
from flywheel.modeling.verbalizer.verbalizer import LabelWords


def adapter(recipe: TrainingConfig, **special: Any) -> Any:
    """LoRA (Hu et al. 2021) as the recipe has it; ``special`` are PEFT's names of its variants."""
    from peft import LoraConfig

    return LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=recipe.lora_alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
        **special,
    )


METHOD = LabelWords(adapter, quantised=True)
WRITING = Writing(adapter, quantised=True)
