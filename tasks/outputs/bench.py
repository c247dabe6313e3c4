"""Train and ask one cell of a benchmark; a finished one is kept and not run again."""

from __future__ import annotations

import json
import logging
import shutil
import statistics
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from prefect import task
from pydantic import ValidationError

from flywheel.bench import samples
from flywheel.bench.grid import Cell, Grid
from flywheel.bench.page import page
from flywheel.bench.results import Result, table
from flywheel.catalog.base_models import base_sha256, ensure_base
from flywheel.catalog.families import require_pair
from flywheel.config import Home, ServingConfig, TrainingConfig, UseCase
from flywheel.config.method_specs import Recipe
from flywheel.dataset import snapshots
from flywheel.errors import ConfigError, NotEnoughData
from flywheel.evaluation.task_type import task_type
from flywheel.files import private_files
from flywheel.files.json_files import read_json
from flywheel.modeling import artifact
from flywheel.records import Example, Trained
from flywheel.training import runner
from tasks import retry_if_transient

log = logging.getLogger(__name__)

ALONE = 32
"""Texts that are asked one by one, for the time that one takes."""
MEGABYTE = 1e6


def read_pool(grid: Grid, use_case: UseCase, home: Home) -> samples.Pool:
    """The rows that the grid draws from."""
    read = samples.from_reviews if grid.data == "reviews" else samples.from_snapshot
    return read(use_case, home)


def kept(grid: Grid, use_case: UseCase, home: Home, pool: samples.Pool) -> list[tuple[Cell, Path]]:
    """Every cell of the grid, and where its result is or will be; bases are fetched for it."""
    names = {one.base for one in grid.entrants if one.base}
    bases = {name: base_sha256(ensure_base(name, home)) for name in sorted(names)}
    content = {
        "data": pool.identity,
        "prompt": use_case.prompt,
        "labels": use_case.label_names,
        "choose": grid.choose,
    }
    folder = home.bench(grid.name)
    return [
        (cell, folder / f"{cell.key({**content, 'base': bases.get(cell.entrant.base or '')})}.json")
        for cell in grid.cells()
    ]


def read_result(path: Path) -> Result | None:
    """The result of a finished cell; None where there is none."""
    so = "The comparison stopped there. Delete the file, and this cell is measured anew."
    if not path.is_file():
        return None
    found = read_json(path, so=so)
    # its name before version 0.2.0
    if "exam_rows" in found:
        found["holdout_rows"] = found.pop("exam_rows")
    return Result(**found)


def as_chosen(grid: Grid, cell: Cell, places: list[tuple[Cell, Path]]) -> Cell:
    """The cell as it is to be trained: with one setting where the grid's first draw chose it.

    Raises:
        NotEnoughData: the first draw's cell has no result yet.
    """
    if grid.choose == "every draw" or cell.seed == 0 or len(cell.entrant.settings) == 1:
        return cell
    wanted = replace(cell, seed=0)
    first = read_result(next(path for other, path in places if other == wanted))
    if first is None:
        raise NotEnoughData(
            f"{cell.entrant.name} with {cell.rows} labels keeps to what its first draw chose, "
            "and that draw has no result yet."
        )
    return cell.keeping_to(first)


@task(timeout_seconds=6 * 3_600)
def run_cell(cell: Cell, use_case: UseCase, home: Home, pool: samples.Pool, path: Path) -> Result:
    """Train every setting, take the best on validation, score it on the holdout, and keep what it
    said.

    Customers' texts and what was trained on them lie in a folder that is gone when it ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=path.parent) as name:
        result = _run(cell, use_case, home, pool, Path(name))
    private_files.replace(path, json.dumps(asdict(result)).encode())
    return result


def require_runnable(grid: Grid, use_case: UseCase, home: Home, pool: samples.Pool) -> None:
    """Refuse a grid of which a cell could not be trained, asked or marked: before any is paid for.

    Raises:
        ConfigError: an entrant's method, base or settings do not suit the use case.
        NotEnoughData: there are too few rows to train on, to choose by, or no holdout.
    """
    if not pool.of("holdout"):
        raise NotEnoughData(
            f"{use_case.name} has no holdout rows, so that nothing could be compared. Nothing was "
            "trained; add gold labels (see flywheel doctor) and run a night first."
        )
    for cell in grid.cells():
        _require_cell(cell, use_case, home, pool)


def _require_cell(cell: Cell, use_case: UseCase, home: Home, pool: samples.Pool) -> None:
    name, train = cell.entrant.name, len(pool.of("train"))
    if cell.rows > train:
        raise NotEnoughData(
            f"{name} is to learn from {cell.rows} rows; {use_case.name} has {train} training rows. "
            "Nothing was trained; lower `rows` in the grid."
        )
    _require_choice(cell, use_case, pool)
    try:
        recipes = cell.trainings(use_case)
    except ValidationError as error:
        faults = "; ".join(fault["msg"] for fault in error.errors())
        raise ConfigError(
            f"Entrant {name} cannot be trained: {faults}. Nothing was trained."
        ) from error
    for recipe in recipes:
        if not _is_for(recipe.recipe, use_case):
            raise ConfigError(
                f"Entrant {name}: {recipe.method} is not for {use_case.kind}. Nothing was trained."
            )
        base = ensure_base(recipe.base, home) if recipe.base else None
        require_pair(recipe.method, base, use_case.kind)


def _is_for(recipe: Recipe, use_case: UseCase) -> bool:
    return "vision" in recipe.bases if use_case.is_image else use_case.kind in recipe.kinds


def _require_choice(cell: Cell, use_case: UseCase, pool: samples.Pool) -> None:
    settings = cell.entrant.settings
    # what is written is not scored on validation rows: nothing could choose there, either
    if len(settings) > 1 and (use_case.is_generation or not pool.of("validation")):
        raise NotEnoughData(
            f"{cell.entrant.name} has {len(settings)} settings and there are no validation rows to "
            "choose by. Name one, or set split.validation in the use case."
        )


def _run(cell: Cell, use_case: UseCase, home: Home, pool: samples.Pool, folder: Path) -> Result:
    settings = cell.entrant.settings
    _require_choice(cell, use_case, pool)
    snapshot = snapshots.write(samples.draw(pool, rows=cell.rows, seed=cell.seed), folder / "rows")
    tried: list[tuple[Trained, TrainingConfig, dict[str, Any]]] = []
    for number, recipe in enumerate(cell.trainings(use_case)):
        case = use_case.model_copy(update={"training": recipe})
        trained = runner.train(
            case,
            base=ensure_base(recipe.base, home) if recipe.base else None,
            snapshots_dir=folder / "rows",
            snapshot_id=snapshot.snapshot_id,
            folder=folder / str(number),
            images=home.images,
        )
        tried.append((trained, recipe, settings[number]))
    best, recipe, setting = max(tried, key=lambda one: one[0].validation_accuracy or 0.0)
    case = use_case.model_copy(update={"training": recipe})
    told = _ask(case, home, Path(best.adapter_dir), pool.of("holdout"), digest=best.digest)
    return Result(
        entrant=cell.entrant.name,
        method=cell.entrant.method,
        base=cell.entrant.base,
        rows=cell.rows,
        seed=cell.seed,
        validation_accuracy=best.validation_accuracy,
        setting=setting,
        train_seconds=sum(one.train_seconds for one, _, _ in tried),
        train_memory_mb=max(one.peak_memory_mb for one, _, _ in tried),
        weights_mb=sum(f.stat().st_size for f in _weights(Path(best.adapter_dir))) / MEGABYTE,
        **told,
    )


def _ask(
    case: UseCase, home: Home, folder: Path, holdout: list[Example], *, digest: str
) -> dict[str, Any]:
    from flywheel.modeling import methods, model_loading

    # methods are compared, and a model that is asked once is not worth its conversion
    answerer = methods.load(case.on_runtime_of(ServingConfig(runtime="torch")), home, folder)
    answers, milliseconds = answerer.answer([e.text for e in holdout])
    alone = []
    for example in holdout[:ALONE]:
        begun = time.perf_counter()
        answerer.answer([example.text])
        alone.append(1_000 * (time.perf_counter() - begun))
    report = task_type(case).report(
        digest=digest,
        gold={e.example_id: e.label for e in holdout if e.label},
        answers={e.example_id: a for e, a in zip(holdout, answers, strict=True)},
        latency_ms=milliseconds,
    )
    del answerer
    model_loading.release()
    return {
        "accuracy": report.accuracy,
        "macro_f1": report.macro_f1,
        "log_loss": report.log_loss,
        "calibration_error": report.calibration_error,
        "rouge_l": report.overlap and report.overlap.rouge_l,
        "answer_ms": statistics.median(alone),
        "answers_per_s": 1_000 / milliseconds,
        "holdout_rows": len(holdout),
    }


def write_report(grid: Grid, home: Home, found: list[Result], *, cells: int) -> Path:
    """Write the page and ``report.json``; returns their folder."""
    folder = home.bench(grid.name)
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "grid": grid.model_dump(mode="json"),
        "cells": cells,
        "results": [asdict(result) for result in found],
        "table": [asdict(row) for row in table(found)],
    }
    (folder / "report.json").write_text(json.dumps(facts, indent=1))
    (folder / "report.html").write_text(page(grid, found, cells=cells), encoding="utf-8")
    return folder


@task(retries=2, retry_delay_seconds=5, retry_condition_fn=retry_if_transient)
def log_cells(grid: Grid, home: Home, found: list[Result], folder: Path) -> None:
    """Show in MLflow every cell that is not there yet, and the page."""
    from flywheel.bench.mlflow_runs import log_runs

    log_runs(home, grid.name, found, folder / "report.html")


def _weights(folder: Path) -> list[Path]:
    return [folder / name for name in artifact.DECISIVE if (folder / name).is_file()]


def forget_cells(grid: Grid, home: Home) -> None:
    """Drop every result of the grid, so that its next run begins anew."""
    shutil.rmtree(home.bench(grid.name), ignore_errors=True)
