"""What a night costs as labels come in, from the base and from the champion, and what it is worth.

    python -m benchmarks.nights --json
    python -m benchmarks.nights --write        # its page, its drawing and nights.json
    python -m benchmarks.nights --seeds 2 --most 1600 --deadline 06:55

Default data: STEP labels come in each night, in an order and from raters drawn by the seed. Each
night trains in a process of its own, on one core where OMP_NUM_THREADS is 1. What was measured is
kept cell by cell, so that a stopped run goes on; delete the folder to measure anew. Cells come seed
by seed, first up to 1,600 labels, so that a stop at any time leaves whole seeds.

The rule for the default of ``training.start_from``, fixed before measuring: ``champion`` only when
the 95 % interval of its accuracy less the base's, over the nights asked, lies above -1 point; and
only when each of these nights has three draws.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks import nights_report
from benchmarks.nights_arms import RATIO, STEP, Cell, run
from flywheel.config import Home
from flywheel.home.environment import prepare

HERE = Path(__file__).resolve().parent
HISTORIES = (100, 200, 400, 800, 1_600, 2_800)
"""The last is what the default data has outside its holdout and validation rows, by the hundred."""
FIRST = 1_600


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is missing, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=2, help="draws of labels")
    parser.add_argument("--most", type=int, default=HISTORIES[-1], help="labels of the last night")
    parser.add_argument("--deadline", help="begin no cell after this time of day, HH:MM, UTC")
    parser.add_argument("--keep", type=Path, help="folder of cells and adapters; go on from it")
    parser.add_argument("--no-measure", action="store_true", help="take the cells that are there")
    parser.add_argument("--write", action="store_true", help="page, drawing and figures")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    asked = parser.parse_args(arguments)
    prepare(Home())
    keep = asked.keep or Home().root / "benchmarks" / "nights"
    histories = [one for one in HISTORIES if one <= asked.most]
    if not asked.no_measure:
        measure(cells(asked.seeds, histories), keep=keep, deadline=asked.deadline)
    result = {"step": STEP, "replay": RATIO, **nights_report.summary(read(keep))}
    if asked.write and "default" not in result:
        parser.error("no night was lived in both ways yet: nothing to write")
    if asked.write:
        nights_report.write(HERE, result, read(keep))
    print(json.dumps(result) if asked.json else nights_report.table(result))


def cells(seeds: int, histories: Sequence[int]) -> Iterator[Cell]:
    """All cells in the order in which they are measured; some come twice."""
    for begun in range(0, seeds, 2):
        pair = range(begun, min(seeds, begun + 2))
        for most in (FIRST, histories[-1]):
            for seed in pair:
                yield from life(seed, [one for one in histories if one <= most])


def life(seed: int, histories: Sequence[int]) -> Iterator[Cell]:
    """The nights of one draw: the champion's one after the other, the base's where both are asked.

    The first night of both is the same, from the base.
    """
    for before, history in zip((0, *histories), histories, strict=False):
        for night in range(before + STEP, history + 1, STEP):
            yield Cell(seed, "champion", night, night == history)
        if history > STEP:
            yield Cell(seed, "base", history, True)


def read(keep: Path) -> list[dict[str, Any]]:
    """The cells that were measured, in that order."""
    path = keep / "cells.jsonl"
    if not path.is_file():
        return []
    found = []
    for line in path.read_text().splitlines():
        # one that was being written when the process was killed is measured again
        with contextlib.suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return found


def measure(wanted: Iterator[Cell], *, keep: Path, deadline: str | None) -> None:
    """Measure the cells that ``keep`` lacks; each is kept when it is whole."""
    keep.mkdir(parents=True, exist_ok=True)
    done = {(c["seed"], c["arm"], c["history"]) for c in read(keep)}
    for cell in wanted:
        if (cell.seed, cell.arm, cell.history) in done:
            continue
        if deadline and f"{datetime.now().astimezone():%H:%M}" >= deadline:
            print(f"stopped before {cell.name}: it is {deadline}", file=sys.stderr)
            return
        # unlike a pool of multiprocessing, it says so when its process is killed
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            found = pool.submit(run, cell, keep).result()
        with (keep / "cells.jsonl").open("a") as file:
            # on a line of its own, also after one that was cut short
            file.write(f"\n{json.dumps(found)}\n")
            file.flush()
            os.fsync(file.fileno())
        done.add((cell.seed, cell.arm, cell.history))
        _tidy(cell, keep)
        told = {k: v for k, v in found.items() if k not in ("right", "seed", "arm", "history")}
        print(f"{cell.name}: {told}", file=sys.stderr, flush=True)


def _tidy(cell: Cell, keep: Path) -> None:
    """Nothing goes on from a base's cell, nor from the champion's night before."""
    gone = cell
    if cell.arm == "champion":
        gone = Cell(cell.seed, "champion", cell.history - STEP, False)
    shutil.rmtree(keep / gone.name, ignore_errors=True)


if __name__ == "__main__":
    main()
