"""Rank-stabilised LoRA: scaled by the root of its rank (Kalajdzievski 2023), for high ranks."""

from __future__ import annotations

from functools import partial

from flywheel.methods import qlora
from flywheel.methods.label_words import LabelWords
from flywheel.methods.writing import Writing

METHOD = LabelWords(partial(qlora.adapter, use_rslora=True))
WRITING = Writing(partial(qlora.adapter, use_rslora=True))
