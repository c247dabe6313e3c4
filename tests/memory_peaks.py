"""Measure what trainings and scorings take at their peak, each against the estimate.

    python -m tests.memory_peaks

Prints one JSON list. It is a process of its own, for what another test has held would count.
"""

from __future__ import annotations

import ctypes
import gc
import json
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

ROWS, LENGTH = 16, 80
PASS = ROWS * LENGTH
WIDE = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "max_position_embeddings": 1024,
}
CASES = (
    ("llama", "lora", LENGTH, WIDE),
    ("gemma2", "lora", 2 * LENGTH + 8, {**WIDE, "head_dim": 32}),
    ("bert", "encoder_lora", LENGTH, WIDE),
    ("bert", "setfit", LENGTH, WIDE),
)


def main() -> None:
    """Peaks in MB, libraries not counted, as JSON."""
    # what libraries allocate once is not a training's
    _measured("llama", "lora", 16, {**WIDE, "num_hidden_layers": 1}, recompute=False)
    found = [_least(*case, recompute=False) for case in CASES]
    found.append(_least(*CASES[0], recompute=True))
    print(json.dumps(found))


def _least(*case: Any, recompute: bool) -> dict[str, Any]:
    """The smaller of two measurements: what an allocator still holds only adds to a peak."""
    both = [_measured(*case, recompute=recompute) for _ in range(2)]
    return min(both, key=lambda one: one["measured"])


def _measured(
    family: str, method: Any, length: int, sizes: dict[str, Any], *, recompute: bool
) -> dict[str, Any]:
    from flywheel.catalog import memory, numeric_types
    from flywheel.catalog.shapes import BF16, Shape
    from flywheel.config import TrainingConfig, load_use_case
    from flywheel.config.method_specs import RECIPES
    from flywheel.modeling import methods
    from tests.architectures import make_architecture
    from tests.conftest import ROOT

    case = load_use_case("product-reviews", folder=ROOT / "usecases")
    recipe = TrainingConfig(
        method=method,
        base=family,
        epochs=1,
        min_steps=0,
        batch_size=ROWS,
        max_length_tokens=length,
        max_tokens_per_pass=PASS,
    )
    case = case.model_copy(update={"training": recipe})
    # lengths differ, as they do: what allocators keep of passes of other shapes counts
    texts = ["good " * (length * (1 + i % 4) // 4 + 8) for i in range(3 * ROWS)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = make_architecture(folder / family, family, labels=case.label_names, larger=sizes)
        work = methods.Work(
            use_case=case,
            base=base,
            rows=methods.Rows(texts, [[i % 3] for i in range(len(texts))], [1.0] * len(texts)),
            folder=folder,
            max_tokens=PASS,
            on_step=lambda *told: None,
            recompute=recompute,
        )
        begun = _from_here()
        methods.method(method).train(work)
        peak = _now("VmHWM") - begun
        shape = Shape.of(base, decodes=RECIPES[recipe.method].words)
    if shape.weight_bytes == BF16:
        shape = replace(shape, weight_bytes=numeric_types.weight_bytes(family))
    told = memory.need(shape, recipe, on_gpu=False, tokens_per_pass=PASS, recompute=recompute)
    return {
        "case": f"{family} {method}{' recomputed' if recompute else ''}",
        "measured": peak,
        "told": told.total - told.libraries,
    }


def _from_here() -> float:
    """Forget the peak so far; megabytes held now."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return _now("VmRSS")


def _now(field: str) -> float:
    status = Path("/proc/self/status").read_text()
    (told,) = re.findall(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
    return int(told) * 1.024 / 1e3


if __name__ == "__main__":
    main()
