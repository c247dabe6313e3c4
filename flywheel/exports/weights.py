"""The weights of an export: an adapter that names its base, or a base that what was learned is in.

A base in 4 bits is unpacked to the very numbers that the adapter was learned on. What was learned
is added in float32, and stays so unless bfloat16 is asked for.
"""

from __future__ import annotations

import json
import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch

from flywheel.catalog import hub
from flywheel.config import UseCase
from flywheel.errors import ExportRefused
from flywheel.exports import Dtype
from flywheel.modeling import artifact, methods, model_loading

_NO_TOKENIZER = ("config.json", "preprocessor_config.json", "model*")
"""What of a base's files is no tokenizer's."""


def write_tokenizer(base: Path, folder: Path) -> None:
    """Copy the tokenizer's files of a base as they are."""
    for file in sorted(base.iterdir()):
        if hub.is_wanted(file.name) and not any(fnmatch(file.name, one) for one in _NO_TOKENIZER):
            shutil.copyfile(file, folder / file.name)


def write_adapter(adapter: Path, folder: Path, *, base: str, revision: str | None) -> None:
    """Copy PEFT's files, and let them name the base that they were learned on."""
    shutil.copyfile(adapter / artifact.WEIGHTS, folder / artifact.WEIGHTS)
    config = artifact.peft_config(adapter)
    config |= {"base_model_name_or_path": base, "revision": revision, "inference_mode": True}
    (folder / artifact.PEFT_CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def write_merged(
    use_case: UseCase, base: Path, adapter: Path, folder: Path, *, dtype: Dtype
) -> None:
    """Fold an adapter into its base, unpacked, and write safetensors and configuration."""
    found = artifact.read(use_case, adapter)
    learned: Any = methods.method(found.method, use_case.kind)
    model = learned.base(base)
    if getattr(model, "is_quantized", False):
        model = model.dequantize()
    merged = fold(model, adapter).to(getattr(torch, dtype))
    merged.config.use_cache = True
    if use_case.is_generation:
        _let_end(merged, use_case, base)
    with model_loading.quiet():
        merged.save_pretrained(folder)


def _let_end(model: Any, use_case: UseCase, base: Path) -> None:
    """Say what servers read of an export: it ends an answer as it learned to, and draws nothing."""
    from flywheel.modeling.chat_template import frame_for

    stops = frame_for(use_case, model_loading.tokenizer_of(base)).stops
    told = model_loading.without_habits(model).generation_config
    told.update(do_sample=False, eos_token_id=list(stops), pad_token_id=stops[0])


def fold(model: Any, adapter: Path) -> Any:
    """The model, in float32, with what the adapter adds in its weights.

    Raises:
        ExportRefused: its weights are in 4 bits, which would round away what was learned.
    """
    from peft import PeftModel

    if any(getattr(module, "quant_state", None) is not None for module in model.modules()):
        raise ExportRefused(
            "The base is in 4 bits. Merging into it is refused: each sum would be rounded to one "
            "of 16 values, and what was learned is smaller than the steps between them. Unpack "
            "the base first."
        )
    with model_loading.quiet():
        whole = PeftModel.from_pretrained(model.float(), adapter, is_trainable=False)
        return whole.merge_and_unload(safe_merge=True)
