"""Train and ask one cell of a benchmark; a finished one is kept and not run again."""

from __future__ import annotations

import json
import logging
import os
import shutil
import statistics
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import task

from flywheel import artefact, metrics, snapshots, training
from flywheel.bases import base_sha256, ensure_base
from flywheel.bench import draws
from flywheel.bench.grid import Cell, Grid
from flywheel.bench.results import Result
from flywheel.config import Home, TrainingConfig, UseCase
from flywheel.records import Example, Trained
from tasks import retry_if_transient

log = logging.getLogger(__name__)

ALONE = 32
"""Texts that are asked one by one, for the time that one takes."""
MEGABYTE = 1e6


def read_pool(grid: Grid, use_case: UseCase, home: Home) -> draws.Pool:
    """The rows that the grid draws from."""
    read = draws.from_reviews if grid.data == "reviews" else draws.from_snapshot
    return read(use_case, home)


def kept(grid: Grid, use_case: UseCase, home: Home, pool: draws.Pool) -> list[tuple[Cell, Path]]:
    """Every cell of the grid, and where its result is or will be."""
    content = {"data": pool.identity, "prompt": use_case.prompt, "labels": use_case.label_names}
    folder = home.bench(grid.name)
    return [(cell, folder / f"{cell.key(content)}.json") for cell in grid.cells()]


def read_result(path: Path) -> Result | None:
    """The result of a finished cell; None where there is none."""
    return Result(**json.loads(path.read_text())) if path.is_file() else None


@task(timeout_seconds=6 * 3_600)
def run_cell(cell: Cell, use_case: UseCase, home: Home, pool: draws.Pool, path: Path) -> Result:
    """Train every setting, take the best on validation, ask it the exam, and keep what it said.

    Customers' texts and what was trained on them lie in a folder that is gone when it ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=path.parent) as name:
        result = _run(cell, use_case, home, pool, Path(name))
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(asdict(result)))
    os.replace(temporary, path)
    return result


def _run(cell: Cell, use_case: UseCase, home: Home, pool: draws.Pool, folder: Path) -> Result:
    snapshot = snapshots.write(draws.draw(pool, rows=cell.rows, seed=cell.seed), folder / "rows")
    tried: list[tuple[TrainingConfig, Trained]] = []
    for number, recipe in enumerate(cell.trainings(use_case)):
        case = use_case.model_copy(update={"training": recipe})
        trained = training.train(
            case,
            base=ensure_base(recipe.base, home) if recipe.base else None,
            snapshots_dir=folder / "rows",
            snapshot_id=snapshot.snapshot_id,
            folder=folder / str(number),
        )
        tried.append((recipe, trained))
    recipe, best = max(tried, key=lambda one: one[1].validation_accuracy or 0.0)
    case = use_case.model_copy(update={"training": recipe})
    told = _ask(case, home, Path(best.adapter_dir), pool.of("exam"), digest=best.digest)
    return Result(
        entrant=cell.entrant.name,
        method=cell.entrant.method,
        base=cell.entrant.base,
        rows=cell.rows,
        seed=cell.seed,
        validation_accuracy=best.validation_accuracy,
        setting=cell.entrant.settings[[one for _, one in tried].index(best)],
        train_seconds=sum(one.train_seconds for _, one in tried),
        train_memory_mb=max(one.peak_memory_mb for _, one in tried),
        weights_mb=sum(f.stat().st_size for f in _weights(Path(best.adapter_dir))) / MEGABYTE,
        **told,
    )


def _ask(
    case: UseCase, home: Home, folder: Path, exam: list[Example], *, digest: str
) -> dict[str, Any]:
    from flywheel import inference, methods

    answerer = methods.load(case, home, folder)
    answers, milliseconds = answerer.answer([e.text for e in exam])
    alone = []
    for example in exam[:ALONE]:
        begun = time.perf_counter()
        answerer.answer([example.text])
        alone.append(1_000 * (time.perf_counter() - begun))
    report = metrics.report(
        digest=digest,
        labels=case.label_names,
        gold={e.example_id: e.label for e in exam if e.label},
        answers={e.example_id: a for e, a in zip(exam, answers, strict=True)},
        latency_ms=milliseconds,
    )
    del answerer
    inference.release()
    return {
        "accuracy": report.accuracy,
        "macro_f1": report.macro_f1,
        "log_loss": report.log_loss,
        "calibration_error": report.calibration_error,
        "answer_ms": statistics.median(alone),
        "answers_per_s": 1_000 / milliseconds,
        "exam_rows": len(exam),
    }


@task(retries=2, retry_delay_seconds=5, retry_condition_fn=retry_if_transient)
def log_cells(grid: Grid, home: Home, found: list[Result], page: Path) -> None:
    """Show in MLflow every cell that is not there yet, and the page."""
    from flywheel.bench.runs import log_runs

    log_runs(home, grid.name, found, page)


def _weights(folder: Path) -> list[Path]:
    return [folder / name for name in artefact.DECISIVE if (folder / name).is_file()]


def forget_cells(grid: Grid, home: Home) -> None:
    """Drop every result of the grid, so that its next run begins anew."""
    shutil.rmtree(home.bench(grid.name), ignore_errors=True)


def fetch_bases(grid: Grid, home: Home) -> dict[str, str]:
    """Bring every base that the grid names here; name → hash."""
    names = sorted({one.base for one in grid.entrants if one.base})
    return {name: base_sha256(ensure_base(name, home)) for name in names}
