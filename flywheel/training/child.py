"""The process that trains: it reads one job file and leaves one complete adapter folder.

    python -m flywheel.training.child JOB.json

Its memory goes away with it. Killed anywhere, the next start of the same training goes on from its
checkpoint.
"""

from __future__ import annotations

import json
import math
import signal
import sys
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flywheel import progress, subprocesses
from flywheel.catalog import memory
from flywheel.catalog.base_models import base_sha256
from flywheel.config import TrainingConfig, UseCase
from flywheel.dataset import snapshots
from flywheel.errors import StoreBusy
from flywheel.files import hashing, locks, private_files
from flywheel.modeling import artifact, fingerprint
from flywheel.modeling.artifact import Artifact
from flywheel.records import Trained
from flywheel.records.answers import top
from flywheel.training import training_rows
from flywheel.training.adapter_folder import COMPLETE, CURVE

if TYPE_CHECKING:
    from flywheel.modeling.optim.checkpoint import Checkpoint

FAILURE = "failure.txt"
"""Why it ended; the parent quotes it."""
LARGEST = "largest_pass.txt"
CHECKPOINT = "checkpoint.safetensors"
LOCK = ".lock"
"""Held by the process that trains there."""


def run(job: dict[str, Any]) -> None:
    from flywheel.catalog import numeric_types
    from flywheel.modeling import methods

    use_case, folder = UseCase.model_validate(job["use_case"]), Path(job["folder"])
    base = Path(job["base"]) if job["base"] else None
    # without a base a training is over before it could write one
    checkpoint = _checkpoint(folder, key_of(job, base)) if base else None
    lesson = training_rows.find(use_case, job, base)
    examples = snapshots.read(Path(job["snapshots_dir"]), job["snapshot_id"])
    rows = training_rows.rows(use_case, examples, "train", lesson)
    title = f"training {use_case.training.method} on {len(rows)} examples, steps"
    with (folder / CURVE).open("w") as curve, progress.bar(title) as advance:

        def on_step(step: int, steps: int, loss: float, rate: float) -> None:
            advance(step, steps)
            curve.write(json.dumps({"step": step, "loss": loss, "learning_rate": rate}) + "\n")

        work = methods.Work(
            use_case=use_case,
            base=base,
            rows=rows,
            folder=folder,
            max_tokens=job["max_tokens_per_pass"],
            on_pass=lambda tokens: tell_pass(folder, tokens),
            recompute=job["recompute"],
            moments_in_8_bits=job["moments_in_8_bits"],
            on_step=on_step,
            checkpoint=checkpoint,
            images=Path(job["images"]) if job["images"] else None,
            start=Path(job["start"]["adapter"]) if lesson else None,
        )
        fitted = methods.method(use_case.training.method, use_case.kind).train(work)
    seen = _validate(
        fitted.answerer, use_case, training_rows.rows(use_case, examples, "validation")
    )
    name = use_case.training.base if base else None
    start = job["start"] or {}
    parent = start.get("digest")
    artifact.write(folder, Artifact(use_case.training.method, name, seen.temperature, parent))
    trained = Trained(
        adapter_dir=str(folder),
        digest=fingerprint.of(use_case, base, folder).digest,
        train_examples=sum(one.split == "train" for one in examples),
        train_seconds=fitted.seconds,
        peak_memory_mb=memory.peak_mb(),
        tokens_per_second=fitted.tokens / fitted.seconds if fitted.seconds else 0.0,
        final_loss=sum(fitted.losses[-10:]) / max(1, len(fitted.losses[-10:])),
        validation_rows=seen.rows,
        validation_accuracy=seen.accuracy,
        start=job["why"],
        numeric_type=numeric_types.here().name if base else None,
        parent=parent,
        parent_version=start.get("version"),
        ancestors=tuple(start.get("snapshots", ())),
        new_examples=len(lesson.new) if lesson else None,
        replayed_examples=len(lesson.replayed) if lesson else None,
    )
    if checkpoint is not None:
        checkpoint.drop()
    (folder / LARGEST).unlink(missing_ok=True)
    private_files.replace(folder / COMPLETE, json.dumps(asdict(trained)).encode())


def _checkpoint(folder: Path, key: str) -> Checkpoint:
    from flywheel.modeling.optim.checkpoint import Checkpoint

    return Checkpoint(folder / CHECKPOINT, key)


@dataclass(frozen=True)
class _Validated:
    """What the validation rows said; ``accuracy`` None where there are none."""

    rows: int
    accuracy: float | None
    temperature: float


def _validate(answerer: Any, use_case: UseCase, rows: Any) -> _Validated:
    from flywheel.modeling import calibration

    if use_case.is_generation:
        # nothing chooses by it, and to write so many answers takes long
        return _Validated(0, None, 1.0)
    known = [i for i, target in enumerate(rows.targets) if len(target) == 1]
    if not known:
        return _Validated(0, None, 1.0)
    labels = [use_case.label_names[rows.targets[i][0]] for i in known]
    answers, _ = answerer.answer([rows.texts[i] for i in known])
    right = [top(a) == label for a, label in zip(answers, labels, strict=True)]
    return _Validated(len(known), sum(right) / len(right), calibration.temperature(answers, labels))


def key_of(job: dict[str, Any], base: Path | None) -> str:
    """What decides every step of a training; where any of it differs, it starts anew."""
    use_case = job["use_case"]
    content = {
        "snapshot": job["snapshot_id"],
        "base": base_sha256(base) if base else None,
        "recipe": TrainingConfig.model_validate(use_case["training"]).decisive,
        "prompt": use_case["prompt"],
        "kind": use_case["kind"],
        "labels": list(UseCase.model_validate(use_case).label_names),
        "libraries": fingerprint.libraries(use_case["kind"]),
        # what began before 2026-11-30 learned from prompts in pieces
        **({"prompts": "as one text"} if use_case["kind"] == "text-generation" else {}),
        **training_rows.going_on(job["start"], use_case["training"]["replay"]),
    }
    return hashing.of_json(content)


def _main() -> None:
    # Ctrl-C is for the parent to see to; this process ends with it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    subprocesses.end_with_parent()
    path = Path(sys.argv[1])
    # held until this process ends, however it does
    busy = StoreBusy(f"Another process trains in {path.parent}.")
    with locks.held(path.parent / LOCK, wait_s=math.inf, busy=busy):
        alone(path)


def alone(path: Path) -> None:
    """Do a job; nobody else is at it."""
    job = json.loads(path.read_text())
    try:
        run(job)
    except BaseException:
        # the parent quotes this file when there is no complete adapter
        (Path(job["folder"]) / FAILURE).write_text(traceback.format_exc())
        raise


def tell_pass(folder: Path, tokens: int) -> None:
    private_files.replace(folder / LARGEST, str(tokens).encode())


if __name__ == "__main__":
    _main()
