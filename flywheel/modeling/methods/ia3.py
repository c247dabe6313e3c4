"""IA3: learned scales of keys, values and inner activations (Liu et al. 2022).

A few ten thousand weights. PEFT knows which layers to scale for the families that it lists.
"""

from __future__ import annotations

from typing import Any

from flywheel.config import TrainingConfig
from flywheel.modeling.verbalizer.verbalizer import LabelWords


def adapter(recipe: TrainingConfig) -> Any:
    """PEFT finds the layers by the base's architecture."""
    from peft import IA3Config

    return IA3Config(task_type="CAUSAL_LM")


METHOD = LabelWords(adapter)
