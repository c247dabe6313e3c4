"""The hub's benchmark: every cell of a grid, then its page."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flywheel.bench.grid import Grid, load_grid
from flywheel.config import Home, load_use_case
from flywheel.home.environment import open_home, prepare
from flywheel.progress import bar
from tasks.outputs.bench import (
    as_chosen,
    forget_cells,
    kept,
    log_cells,
    read_pool,
    read_result,
    require_runnable,
    run_cell,
    write_report,
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
    open_home(home)
    return str(_bench(grid, home, again=again, most=most))


def _bench(grid: Grid, home: Home, *, again: bool, most: int | None) -> Path:
    case = load_use_case(grid.use_case)
    if again:
        forget_cells(grid, home)
    pool = read_pool(grid, case, home)
    require_runnable(grid, case, home, pool)
    cells = kept(grid, case, home, pool)
    missing = [(cell, path) for cell, path in cells if read_result(path) is None]
    with bar(f"{grid.name}: {len(cells)} cells, {len(missing)} to run, cells") as step:
        for done, (cell, path) in enumerate(missing[:most]):
            step(done, len(missing))
            run_cell(as_chosen(grid, cell, cells), case, home, pool, path)
    found = [result for _, path in cells if (result := read_result(path))]
    folder = write_report(grid, home, found, cells=len(cells))
    log_cells(grid, home, found, folder)
    return folder
