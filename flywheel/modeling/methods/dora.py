"""DoRA: a LoRA whose direction and magnitude learn apart (Liu et al. 2024). Slower to train."""

from __future__ import annotations

from functools import partial

from flywheel.modeling.generation import Writing
from flywheel.modeling.methods import qlora
from flywheel.modeling.verbalizer.verbalizer import LabelWords

METHOD = LabelWords(partial(qlora.adapter, use_dora=True))
WRITING = Writing(partial(qlora.adapter, use_dora=True))
