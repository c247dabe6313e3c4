"""One night of a benchmark's life, trained and asked: the cells that `benchmarks.nights` measures.

A night of history N has N labels of which STEP are new. ``base`` trains on all N from the base;
``champion`` goes on from the adapter of the night before, on the new labels and a replay of old
ones. Both use the product's own training code and are scored on the same holdout rows.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.attacks import Data, load
from flywheel.catalog.base_models import ensure_base
from flywheel.config import Home
from flywheel.dataset import product_reviews
from flywheel.modeling import artifact, methods
from flywheel.training import warm_start

STEP = 100
"""New labels of a night."""
RATIO = 1.0
"""Replayed labels for each new one."""
Arm = Literal["base", "champion"]


@dataclass(frozen=True)
class Cell:
    """One night: ``history`` is its labels, those of the nights before included."""

    seed: int
    arm: Arm
    history: int
    asked: bool
    """Whether the holdout is asked."""

    @property
    def name(self) -> str:
        return f"seed-{self.seed}-{self.arm}-{self.history}"


def draw(data: Data, *, rows: int, seed: int) -> list[tuple[str, int]]:
    """``rows`` sentences of the train side in the order in which they come in, labels as numbers.

    Each has the label of one randomly drawn rater.
    """
    rng = random.Random(f"nights:{seed}")
    names = data.case.label_names
    return [
        (s.text, names.index(product_reviews.rater_label(rng.choice(s.ratings))))
        for s in rng.sample(data.train, rows)
    ]


def run(cell: Cell, folder: Path) -> dict[str, Any]:
    """Train one cell into ``folder`` and measure it: called in a fresh process.

    ``cpu_s`` and ``wall_s`` are seconds of the training, loading the base included; ``steps_cpu_s``
    those of its optimiser steps alone.
    """
    home = Home()
    data = load(home)
    base = ensure_base(data.case.training.base or "", home)
    recipe = data.case.training.model_copy(update={"seed": cell.seed})
    case = data.case.model_copy(update={"training": recipe})
    came = draw(data, rows=cell.history, seed=cell.seed)
    ids = [f"{number:05}" for number in range(cell.history)]
    start, lesson = None, warm_start.Lesson(tuple(ids), ())
    if cell.arm == "champion" and cell.history > STEP:
        start = folder / Cell(cell.seed, "champion", cell.history - STEP, False).name
        lesson = warm_start.lesson(
            ids, ids[: cell.history - STEP], ratio=RATIO, seed=f"{cell.seed}:{cell.history}"
        )
    chosen = [came[int(name)] for name in (*lesson.new, *lesson.replayed)]
    partial = folder / f".tmp-{cell.name}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    first: list[float] = []
    wall, cpu = time.perf_counter(), time.process_time()
    fitted = methods.method(recipe.method).train(
        methods.Work(
            use_case=case,
            base=base,
            rows=methods.Rows(
                [text for text, _ in chosen],
                [[label] for _, label in chosen],
                [1.0] * len(chosen),
            ),
            folder=partial,
            max_tokens=recipe.tokens_per_pass,
            on_step=lambda *_: first.append(time.process_time()),
            start=start,
        )
    )
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    artifact.write(partial, artifact.Artifact(recipe.method, recipe.base))
    whole = folder / cell.name
    shutil.rmtree(whole, ignore_errors=True)
    os.replace(partial, whole)
    # the first step's own cost is that of the others, on average
    steps = (first[-1] - first[0]) * len(first) / max(1, len(first) - 1)
    found: dict[str, Any] = {
        **asdict(cell),
        "rows": len(chosen),
        "new": len(lesson.new),
        "replayed": len(lesson.replayed),
        "cpu_s": round(cpu, 2),
        "wall_s": round(wall, 2),
        "steps_cpu_s": round(steps, 2),
    }
    if cell.asked:
        answers, _ = fitted.answerer.answer([s.text for s in data.holdout])
        right = [
            max(a, key=a.__getitem__) == product_reviews.gold_label(s.mean)
            for a, s in zip(answers, data.holdout, strict=True)
        ]
        found["accuracy"] = sum(right) / len(right)
        found["right"] = "".join("1" if one else "0" for one in right)
    return found
