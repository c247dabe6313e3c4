"""An encoder with a head, LoRA on all its linear layers: the honest rival of a small LLM."""

from __future__ import annotations

from flywheel.methods import qlora_head
from flywheel.methods.tuned_heads import TunedHead

METHOD = TunedHead(causal=False, adapter=qlora_head.adapter)
