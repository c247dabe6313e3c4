"""DoRA: a LoRA whose direction and magnitude learn apart (Liu et al. 2024). Slower to train."""

from __future__ import annotations

from functools import partial

from flywheel.methods import qlora
from flywheel.methods.label_words import LabelWords
from flywheel.methods.writing import Writing

METHOD = LabelWords(partial(qlora.adapter, use_dora=True))
WRITING = Writing(partial(qlora.adapter, use_dora=True))
