"""An encoder with a head, every weight of it learning: how BERT was meant to be used."""

from __future__ import annotations

from flywheel.methods.tuned_heads import TunedHead

METHOD = TunedHead(causal=False, adapter=None)
