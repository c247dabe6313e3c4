"""One text, and batches, answered by torch and by OpenVINO: the same champion, texts and process.

    flywheel turn && python -m benchmarks.runtimes
    FLYWHEEL_NUMERIC_TYPE=float32 python -m benchmarks.runtimes

Asked are texts of the champion's snapshot, by both in turns, so that other work on the machine
falls on both. The conversion is measured in a folder of its own.

What it does not cover: the service around it (`benchmarks.serving`), and GPUs.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from flywheel.catalog import numeric_types
from flywheel.config import Home, ServingConfig, load_use_case
from flywheel.dataset import snapshots
from flywheel.modeling import methods, model_loading
from flywheel.modeling.artifact import base_folder
from flywheel.modeling.compiled import runtime
from flywheel.tracking.registry import CHAMPION, Registry

NAMES: tuple[runtime.Runtime, ...] = ("torch", "openvino")
BATCH, BATCHES = model_loading.ROWS_PER_BATCH, 6
"""Rows of a batch, and how many are asked for at a time."""
WARM_UP = 8


def measure(use_case: str, *, texts: int) -> dict[str, Any]:
    """What both took, how far their answers are apart, and on which machine."""
    import torch

    home, case = Home(), load_use_case(use_case)
    registry = Registry(home)
    champion = registry.by_alias(case.name, CHAMPION)
    assert champion is not None, "run flywheel turn first"
    found = [e.text for e in snapshots.read(home.snapshots, champion.snapshot_id)]
    rows = sorted(set(found))[:: max(1, len(set(found)) // texts)][:texts]
    own = champion.served_use_case()
    base = base_folder(own, home, champion.adapter_dir)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        answerers, told = {}, {}
        for name in NAMES:
            asked = own.on_runtime_of(ServingConfig(runtime=name))

            def loaded(asked: Any = asked) -> Any:
                return methods.load_on(
                    asked, base, champion.adapter_dir, compiled=Path(folder) / "compiled"
                )

            first_s, _ = seconds(loaded)
            again_s, answerers[name] = seconds(loaded)
            assert runtime.runtime_of(answerers[name]) == name
            told[name] = {"first_load_s": first_s, "load_s": again_s}
        kept = sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file())
        told["openvino"]["kept_mb"] = kept / 1e6
        answers = alone(answerers, rows, told)
        in_batches(answerers, rows, told)
    return {
        "texts": len(rows),
        "numeric_type": numeric_types.here().name,
        "threads": torch.get_num_threads(),
        "load_before": load,
        "load_after": os.getloadavg()[0],
        "runtimes": told,
        "times_as_fast": {
            "one_text": told["torch"]["one_text_ms"] / told["openvino"]["one_text_ms"],
            "batches": told["openvino"]["rows_per_s"] / told["torch"]["rows_per_s"],
        },
        "worst_difference": max(
            abs(one[label] - other[label])
            for one, other in zip(*(answers[name] for name in NAMES), strict=True)
            for label in one
        ),
    }


def seconds(work: Any) -> tuple[float, Any]:
    """How long it took, and what came of it."""
    begun = time.perf_counter()
    result = work()
    return time.perf_counter() - begun, result


def alone(
    answerers: dict[str, Any], rows: Sequence[str], told: dict[str, dict[str, float]]
) -> dict[str, list[dict[str, float]]]:
    """Each text by itself, by both in turns; what they answered."""
    taken: dict[str, list[float]] = {name: [] for name in NAMES}
    answers: dict[str, list[dict[str, float]]] = {name: [] for name in NAMES}
    for text in [*rows[:WARM_UP], *rows]:
        for name in NAMES:
            took_s, (answer, _) = seconds(lambda n=name, t=text: answerers[n].answer([t]))
            taken[name].append(took_s)
            answers[name] += answer
    for name in NAMES:
        told[name]["one_text_ms"] = 1_000 * median(taken[name][WARM_UP:])
        answers[name] = answers[name][WARM_UP:]
    return answers


def in_batches(
    answerers: dict[str, Any], rows: Sequence[str], told: dict[str, dict[str, float]]
) -> None:
    """Many texts at a time, by both in turns."""
    many = BATCH * BATCHES
    parts = [rows[start : start + many] for start in range(0, len(rows), many)]
    rates: dict[str, list[float]] = {name: [] for name in NAMES}
    for part in [parts[0], *parts]:
        for name in NAMES:
            took_s, _ = seconds(lambda n=name, p=part: answerers[n].answer(p))
            rates[name].append(len(part) / took_s)
    for name in NAMES:
        told[name]["rows_per_s"] = median(rates[name][1:])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("-u", "--use-case", default="product-reviews")
    parser.add_argument("--texts", type=int, default=384)
    given = parser.parse_args()
    os.environ.pop(runtime.SETTING, None)
    print(json.dumps(measure(given.use_case, texts=given.texts), indent=2))


if __name__ == "__main__":
    main()
