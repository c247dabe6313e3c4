"""The hub's benchmark: every cell of a grid, then its page."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from prefect import flow

from flywheel.bench import results
from flywheel.bench.grid import Grid, load_grid
from flywheel.bench.page import page
from flywheel.config import Home, load_use_case
from flywheel.environment import prepare
from flywheel.progress import bar
from tasks.bench import (
    fetch_bases,
    forget_cells,
    kept,
    log_cells,
    read_pool,
    read_result,
    run_cell,
)


@flow(name="bench", log_prints=False)
def bench(
    grid_path: str = "benchmarks/small.yaml", again: bool = False, most: int | None = None
) -> str:
    """Run every cell of a grid that has no result yet; returns the folder of the report.

    ``most`` cells at most: a grid can be done in several sittings.
    """
    home, grid = Home(), load_grid(Path(grid_path))
    prepare(home)
    return str(_bench(grid, home, again=again, most=most))


def _bench(grid: Grid, home: Home, *, again: bool, most: int | None) -> Path:
    case = load_use_case(grid.use_case)
    if again:
        forget_cells(grid, home)
    fetch_bases(grid, home)
    pool = read_pool(grid, case, home)
    cells = kept(grid, case, home, pool)
    missing = [(cell, path) for cell, path in cells if read_result(path) is None]
    with bar(f"{grid.name}: {len(cells)} cells, {len(missing)} to run, cells") as step:
        for done, (cell, path) in enumerate(missing[:most]):
            step(done, len(missing))
            run_cell(cell, case, home, pool, path)
    found = [result for _, path in cells if (result := read_result(path))]
    return _report(grid, home, found, cells=len(cells))


def _report(grid: Grid, home: Home, found: list[results.Result], *, cells: int) -> Path:
    folder = home.bench(grid.name)
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "grid": grid.model_dump(mode="json"),
        "cells": cells,
        "results": results.as_json(found),
        "table": [asdict(row) for row in results.table(found)],
    }
    (folder / "report.json").write_text(json.dumps(facts, indent=1))
    (folder / "report.html").write_text(page(grid, found, cells=cells), encoding="utf-8")
    log_cells(grid, home, found, folder / "report.html")
    return folder
