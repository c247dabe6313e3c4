"""An encoder with a head, LoRA on all its linear layers: the honest rival of a small LLM."""

from __future__ import annotations

from flywheel.modeling.methods import qlora_head
from flywheel.modeling.methods.finetuned_head import TunedHead

METHOD = TunedHead(causal=False, adapter=qlora_head.adapter)
