"""An encoder with a head, every weight of it learning: how BERT was meant to be used."""

from __future__ import annotations

from flywheel.modeling.methods.finetuned_head import TunedHead

METHOD = TunedHead(causal=False, adapter=None)
