"""Rank-stabilised LoRA: scaled by the root of its rank (Kalajdzievski 2023), for high ranks."""

from __future__ import annotations

from functools import partial

from flywheel.modeling.generation import Writing
from flywheel.modeling.methods import qlora
from flywheel.modeling.verbalizer.verbalizer import LabelWords

METHOD = LabelWords(partial(qlora.adapter, use_rslora=True))
WRITING = Writing(partial(qlora.adapter, use_rslora=True))
