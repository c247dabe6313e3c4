"""LoRA: the same adapter as QLoRA's on a base that is not in 4 bits (Hu et al. 2021).

A base this small pays for 4 bits with accuracy; a large one hardly does, and fits.
"""

from __future__ import annotations

from flywheel.modeling.generation import Writing
from flywheel.modeling.methods import qlora
from flywheel.modeling.verbalizer.verbalizer import LabelWords

METHOD = LabelWords(qlora.adapter)
WRITING = Writing(qlora.adapter)
