"""The command ``flywheel bench``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from flows.cli.exits import with_prefect
from flows.cli.options import json_option
from flows.cli.output import echo

SMALL = Path("benchmarks/small.yaml")


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
    from flows.bench import bench

    with with_prefect():
        folder = Path(bench(str(grid), again, most))
    facts = json.loads((folder / "report.json").read_text())
    if as_json:
        echo(json.dumps(facts))
        return
    for line in _lines(facts):
        echo(line)
    echo(f"report: {folder / 'report.html'}")


def _lines(facts: dict[str, Any]) -> list[str]:
    measure = facts["table"][0]["measure"] if facts["table"] else "accuracy"
    head = f"{'entrant':32} {'labels':>6} {measure:>8} {'95 % interval':>15} {'train s':>8}"
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
