"""How close training and scoring come to the machine's limit, and what each idea brought.

    python -m benchmarks.training --json
    python -m benchmarks.training --write      # docs/benchmarks/training.md and training.json

Each way trains in a fresh process, one after the other, on the same rows; nothing else should run
on the machine. ``ratio`` is our rows per second over the stock recipe's: Transformers' Trainer with
PEFT on a bitsandbytes base. ``share_of_matrix_limit`` is our tokens per second over what bare
matrix products allow. ``scoring_ratio`` is ours over ``transformers.pipeline`` with its defaults.
What was measured before is kept, so a stopped run goes on; delete the file to measure anew.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import PAGES
from benchmarks.training_arms import NAMES_OF_IDEAS, run
from benchmarks.training_report import page
from flywheel.config import Home
from flywheel.home.environment import prepare

HERE = Path(__file__).resolve().parent
RESULT = HERE / "training.json"
PAGE = PAGES / "training.md"
COMPARED = ("matrix_limit", "ours", "stock")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is missing, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=300, help="training labels")
    parser.add_argument("--seeds", type=int, default=3, help="draws; the ideas see the first one")
    parser.add_argument("--ideas", action="store_true", help="ours without each idea, too")
    parser.add_argument("--keep", type=Path, help="keep each way's figures here, and go on from it")
    parser.add_argument("--write", action="store_true", help="all ideas; the page and its figures")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    asked = parser.parse_args(arguments)
    prepare(Home())
    arms = [*COMPARED]
    if asked.ideas or asked.write:
        arms += [name for name in (*NAMES_OF_IDEAS, "profile") if name not in arms]
    keep = asked.keep or Home().root / "benchmarks" / f"training-{asked.rows}.json"
    cells = measure(arms, rows=asked.rows, seeds=asked.seeds, keep=keep)
    found = {"rows": asked.rows, "seeds": asked.seeds, **summary(cells), "arms": cells}
    if asked.write:
        RESULT.write_text(json.dumps(found, indent=1) + "\n")
        PAGE.write_text(page(found))
    if asked.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            if name != "arms":
                print(f"{name:24} {value}")


def measure(
    arms: Sequence[str], *, rows: int, seeds: int, keep: Path
) -> dict[str, list[dict[str, float]]]:
    """Arm → its figures for each seed; what ``keep`` holds is not measured again."""
    known: dict[str, list[dict[str, float]]] = (
        json.loads(keep.read_text()) if keep.is_file() else {}
    )
    keep.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(seeds):
        for arm in arms:
            if len(known.get(arm, [])) > seed or (seed and arm not in COMPARED):
                continue
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                cell = pool.apply(run, (arm, rows, seed))
            known.setdefault(arm, []).append(cell)
            keep.write_text(json.dumps(known))
            told = ", ".join(f"{name} {value:.4g}" for name, value in cell.items())
            print(f"{arm}, seed {seed}: {told}", file=sys.stderr, flush=True)
    return {arm: known[arm][:seeds] for arm in arms}


def summary(cells: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """The figures in one line each: medians over seeds, ratios within a seed."""
    ours, stock, limit = (cells[arm] for arm in ("ours", "stock", "matrix_limit"))
    return {
        "ours_rows_per_s": _median(ours, "rows_per_s"),
        "stock_rows_per_s": _median(stock, "rows_per_s"),
        "ratio": _ratio(ours, stock, "rows_per_s", "rows_per_s"),
        "ours_accuracy": _mean(ours, "accuracy"),
        "stock_accuracy": _mean(stock, "accuracy"),
        "share_of_matrix_limit": _ratio(ours, limit, "tokens_per_s", "tokens_per_s"),
        "peak_memory_mb": round(max(one["peak_memory_mb"] for one in ours)),
        "stock_peak_memory_mb": round(max(one["peak_memory_mb"] for one in stock)),
        "scoring_ratio": _ratio(ours, ours, "scored_per_s", "pipeline_per_s"),
        "holdout_rows": int(ours[0]["holdout_rows"]),
        "half_width": _half_width(_mean(ours, "accuracy"), int(ours[0]["holdout_rows"])),
    }


def _half_width(accuracy: float, rows: int) -> float:
    """Of a 95 % interval of an accuracy on ``rows`` rows, by the normal approximation."""
    return round(1.96 * (accuracy * (1 - accuracy) / rows) ** 0.5, 4)


def _median(cells: Sequence[dict[str, float]], name: str) -> float:
    return round(statistics.median(cell[name] for cell in cells), 2)


def _mean(cells: Sequence[dict[str, float]], name: str) -> float:
    return round(statistics.mean(cell[name] for cell in cells), 4)


def _ratio(
    over: Sequence[dict[str, float]], under: Sequence[dict[str, float]], of: str, to: str
) -> float:
    pairs = zip(over, under, strict=True)
    return round(statistics.median(one[of] / other[to] for one, other in pairs), 3)


if __name__ == "__main__":
    main()
