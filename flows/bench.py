"""The hub's benchmark as a flow, and its command ``flywheel bench``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from prefect import flow

from flows.options import json_option
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

SMALL = Path("benchmarks/small.yaml")


@flow(name="bench", log_prints=False)
def bench(grid_path: str = str(SMALL), again: bool = False, most: int | None = None) -> str:
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


@click.command("bench")
@click.argument("grid", type=click.Path(dir_okay=False, path_type=Path), default=SMALL)
@click.option("--again", is_flag=True, help="Run finished cells again.")
@click.option("--most", type=click.IntRange(min=0), help="Cells to run in this sitting.")
@json_option
def bench_command(grid: Path, again: bool, most: int | None, as_json: bool) -> None:
    """Compare methods and bases on the same rows: quality, time, memory, cost, latency.

    GRID is a file such as benchmarks/small.yaml. Stopped anywhere, it goes on where it was; each
    cell runs once. The page and report.json lie under bench/ of the home, the runs in MLflow.

    \b
    Example: flywheel bench benchmarks/small.yaml
    """
    folder = Path(bench(str(grid), again, most))
    facts = json.loads((folder / "report.json").read_text())
    if as_json:
        click.echo(json.dumps(facts))
        return
    for line in _lines(facts):
        click.echo(line)
    click.echo(f"report: {folder / 'report.html'}")


def _lines(facts: dict[str, Any]) -> list[str]:
    head = f"{'entrant':32} {'labels':>6} {'accuracy':>8} {'95 % interval':>15} {'train s':>8}"
    lines = [head + f" {'answers/s':>9}"]
    for row in facts["table"]:
        seen = row["accuracy"]
        lines.append(
            f"{row['entrant']:32} {row['rows']:6} {_share(seen['mean']):>8} "
            f"{_share(seen['low']):>7} {_share(seen['high']):>7} {row['train_seconds']:8.1f} "
            f"{row['answers_per_s']:9.0f}"
        )
    return lines


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
