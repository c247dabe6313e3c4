"""A training is a child process that reads one job file and leaves one complete adapter folder.

    python -m flywheel.training.runner JOB.json

Its memory goes away with it. Killed anywhere, the next start of the same training goes on from its
checkpoint. ``trained.json`` is written last, and the folder gets its name after that: partial is
never taken for complete.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flywheel import progress, subprocesses
from flywheel.catalog import memory
from flywheel.catalog.base_config import model_type_of
from flywheel.catalog.base_models import base_sha256
from flywheel.catalog.families import family_of, require_pair
from flywheel.config import TrainingConfig, UseCase
from flywheel.dataset import snapshots
from flywheel.errors import DataError, DigestMismatch, StoreBusy, TrainingFailed
from flywheel.files import hashing, locks, private_files
from flywheel.files.json_files import damaged, read_json
from flywheel.modeling import artifact, context_length, fingerprint
from flywheel.modeling.artifact import Artifact
from flywheel.records import Trained
from flywheel.training import training_rows
from flywheel.training.warm_start import FROM_BASE, Start

if TYPE_CHECKING:
    from flywheel.modeling.optim.checkpoint import Checkpoint

log = logging.getLogger(__name__)

COMPLETE = "trained.json"
CURVE = "curve.jsonl"
FAILURE = "failure.txt"
PARTIAL = ".tmp-"
"""Folders that begin so hold what is not complete."""
_LARGEST = "largest_pass.txt"
_CHECKPOINT = "checkpoint.safetensors"
_LOCK = ".lock"
_TURN = ".turn-"
"""Files that begin so are held by who trains into the folder of that name."""


def train(
    use_case: UseCase,
    *,
    base: Path | None,
    snapshots_dir: Path,
    snapshot_id: str,
    folder: Path,
    images: Path | None = None,
    start: Start = FROM_BASE,
    parent: Path | None = None,
    run: Callable[[Path, dict[str, Any]], int] | None = None,
) -> Trained:
    """Train in a child process into ``folder``; what is complete there is not trained again.

    Unless it is not any more what it was measured as, as after an upgrade of a decisive library:
    then it is trained anew.

    ``images`` is where pictures lie, for a use case that has them. A warm ``start`` goes on from
    the adapter in ``parent``. ``run`` does a job otherwise than by a child (`in_this_process`).

    A child that the system killed, as it does when memory runs out, is started once more with
    smaller passes, and goes on where it was.

    Raises:
        ConfigError: the method does not work on that base, or texts may be longer than it reads;
            nothing was started.
        DoesNotFit: there is too little memory; nothing was started.
        TrainingFailed: the child ended without a complete adapter; its last words are included.
    """
    if (trained := finished(use_case, base, folder)) is not None:
        return trained
    with _only_one(folder):
        # whoever was waited for may have left it
        if (trained := finished(use_case, base, folder)) is not None:
            return trained
        return _train(
            use_case,
            base=base,
            snapshots_dir=snapshots_dir,
            snapshot_id=snapshot_id,
            folder=folder,
            images=images,
            start=start,
            parent=parent,
            run=run,
        )


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Be the only one that trains into ``folder``; another one is waited for.

    Use cases with the same rows and recipe share it, and their nights may begin in the same second.
    A child whose parent died holds no place here: `_partial` leaves it alone.
    """
    path = folder.with_name(f"{_TURN}{folder.name}")
    busy = StoreBusy("another process trains the same")
    with locks.held(path, wait_s=math.inf, busy=busy):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _train(
    use_case: UseCase,
    *,
    base: Path | None,
    snapshots_dir: Path,
    snapshot_id: str,
    folder: Path,
    images: Path | None,
    start: Start,
    parent: Path | None,
    run: Callable[[Path, dict[str, Any]], int] | None,
) -> Trained:
    """As `train`, for the only one that trains into ``folder``."""
    require_pair(use_case.training.method, base, use_case.kind)
    if base is not None and not use_case.is_image:
        context_length.require_room(
            use_case, use_case.training, base.name, context_length.tokens_of(base)
        )
    plan = plan_memory(use_case, base)
    clear_leftovers(folder.parent, use_case.name, but=folder.name)
    partial = _partial(folder)
    code = 0
    for again in (False, True):
        attempt = plan.smaller(use_case.training, filled=_largest_pass(partial)) if again else plan
        job = {
            "use_case": use_case.model_dump(mode="json"),
            "base": str(base) if base else None,
            "snapshots_dir": str(snapshots_dir),
            "snapshot_id": snapshot_id,
            "folder": str(partial),
            "max_tokens_per_pass": attempt.tokens_per_pass,
            "recompute": attempt.recompute,
            "moments_in_8_bits": attempt.moments_in_8_bits,
            "images": str(images) if images else None,
            "start": {**asdict(start), "adapter": str(parent)} if start.is_warm else None,
            "why": start.why,
        }
        code = (run or _in_child)(partial / "job.json", job)
        if code != -signal.SIGKILL:
            break
        log.warning("the training process was killed, as when memory runs out")
    if code != 0 or not (partial / COMPLETE).is_file():
        why = partial / FAILURE
        raise TrainingFailed(
            f"Training on snapshot {snapshot_id} ended with exit code {code}; "
            f"nothing was registered and the champion is unchanged. What it had reached is kept "
            f"and the next start goes on from there. Its last words: "
            f"{why.read_text()[-800:] if why.is_file() else 'none (killed, or out of memory)'}"
        )
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    for stale in folder.parent.glob(f"{PARTIAL}{folder.name}*"):
        shutil.rmtree(stale, ignore_errors=True)
    return read_trained(folder)


def finished(use_case: UseCase, base: Path | None, folder: Path) -> Trained | None:
    """What a complete training left in ``folder``; None where it would not answer as it did.

    Nor where it is damaged: a disk that was full, a copy that broke off.

    Its digest is made of all that decides an answer: files that changed, an edited prompt and
    another library give another one.
    """
    if not (folder / COMPLETE).is_file():
        return None
    try:
        trained = read_trained(folder)
        artifact.read(use_case, folder)
    except DataError as error:
        log.warning("%s It is trained anew.", error.message)
        return None
    try:
        here = fingerprint.of(use_case, base, folder)
    except DigestMismatch as error:
        log.warning("%s It is trained anew.", error.message)
        return None
    if fingerprint.differences(fingerprint.Fingerprint(trained.digest), here):
        log.warning(
            "the adapter in %s was trained as %s and would answer as %s; it is trained anew",
            folder.name,
            trained.digest[:12],
            here.digest[:12],
        )
        return None
    return trained


def clear_leftovers(adapters: Path, use_case: str, *, but: str) -> list[str]:
    """Delete what other unfinished trainings of a use case left; the names of what went.

    A training goes on from its own checkpoint only, and a use case trains for one night at a time:
    once another one begins, those of before would be of no use to any. What a live process holds
    stays, as does what is of other use cases.
    """
    gone = []
    for folder in sorted(adapters.glob(f"{PARTIAL}*")):
        if not folder.name.startswith(f"{PARTIAL}{but}") and _left_by(folder, use_case):
            shutil.rmtree(folder, ignore_errors=True)
            gone.append(folder.name)
    if gone:
        log.info("deleted what %d unfinished trainings of %s left", len(gone), use_case)
    return gone


def _left_by(folder: Path, use_case: str) -> bool:
    """Whether an unfinished training is of that use case, and nobody is at it."""
    try:
        job = json.loads((folder / "job.json").read_text())
    except (FileNotFoundError, ValueError):
        return False
    return not _at_work(folder) and bool(job["use_case"]["name"] == use_case)


def _at_work(folder: Path) -> bool:
    """Whether a process trains there."""
    if (lock := locks.take(folder / _LOCK)) is None:
        return True
    os.close(lock)
    return False


def _partial(folder: Path) -> Path:
    """Where to train: where an earlier try stopped, unless its process still holds that.

    A process whose parent died ends itself, but one that hangs cannot. What it had reached is
    copied, and it is left alone.
    """
    partial = folder.with_name(f"{PARTIAL}{folder.name}")
    partial.mkdir(parents=True, exist_ok=True)
    if not _at_work(partial):
        return partial
    other = partial.with_name(f"{partial.name}-{os.getpid()}")
    other.mkdir(exist_ok=True)
    if (partial / _CHECKPOINT).is_file():
        shutil.copy(partial / _CHECKPOINT, other)
    return other


def plan_memory(use_case: UseCase, base: Path | None) -> memory.Plan:
    """How a training of ``use_case`` on ``base`` uses the memory that is free here.

    Raises:
        DoesNotFit: there is too little.
    """
    from flywheel.catalog import numeric_types
    from flywheel.modeling import model_loading

    recipe = use_case.training
    if base is None:
        return memory.Plan(recipe.tokens_per_pass)
    on_gpu = model_loading.device().type == "cuda"
    if family_of(base).body == "vision":
        from flywheel.modeling import image_processor

        return memory.picture_plan(
            recipe, positions=image_processor.positions_of(base), on_gpu=on_gpu
        )
    kind = model_type_of(base)
    plan = memory.plan(
        base,
        recipe,
        available_mb=model_loading.available_memory_mb(),
        on_gpu=on_gpu,
        answer_tokens=recipe.max_new_tokens if use_case.is_generation else 0,
        weight_bytes=numeric_types.weight_bytes(kind),
    )
    if plan.recompute or plan.tokens_per_pass < recipe.tokens_per_pass:
        log.warning("memory is short: %s", plan.in_words)
    return plan


def _in_child(path: Path, job: dict[str, Any]) -> int:
    """Its exit code; a negative one is the signal that ended it."""
    path.write_text(json.dumps(job))
    for left in (FAILURE, _LARGEST):
        (path.parent / left).unlink(missing_ok=True)
    with subprocesses.start("flywheel.training.runner", str(path)) as child:
        return child.wait()


def in_this_process(path: Path, job: dict[str, Any]) -> int:
    """Train without a child, for methods that need no base: they are done before one has begun."""
    path.write_text(json.dumps(job))
    _alone(path)
    return 0


def _largest_pass(folder: Path) -> int | None:
    """Tokens of the largest pass that the last try there began; None where it began none."""
    told = folder / _LARGEST
    return int(told.read_text()) if told.is_file() else None


def _tell_pass(folder: Path, tokens: int) -> None:
    private_files.replace(folder / _LARGEST, str(tokens).encode())


_TRAIN_ANEW = "Delete {} and run the night again: it is trained anew."


def read_trained(folder: Path) -> Trained:
    """What the finished run in ``folder`` recorded.

    Raises:
        DataError: its record is damaged.
    """
    facts = _record(folder)
    ancestors = tuple(facts.get("ancestors", ()))
    try:
        return Trained(**{**facts, "ancestors": ancestors, "slate": (), "adapter_dir": str(folder)})
    except TypeError as error:
        raise _damaged(folder) from error


def is_whole(use_case: UseCase, folder: Path) -> bool:
    """Whether a training ended in ``folder``, and what it says of itself can be read."""
    try:
        read_trained(folder)
        artifact.read(use_case, folder)
    except (FileNotFoundError, DataError):
        return False
    return True


def _record(folder: Path) -> dict[str, Any]:
    found: Any = read_json(folder / COMPLETE, so=_TRAIN_ANEW.format(folder))
    if not isinstance(found, dict) or "digest" not in found:
        raise _damaged(folder)
    return found


def _damaged(folder: Path) -> DataError:
    return damaged(folder / COMPLETE, "no record of a training", so=_TRAIN_ANEW.format(folder))


def recorded_digest(folder: Path) -> str | None:
    """The digest that a training recorded in ``folder``; None where none did."""
    return str(_record(folder)["digest"]) if (folder / COMPLETE).is_file() else None


def read_curve(folder: Path) -> list[dict[str, float]]:
    """One row per optimiser step: ``step``, ``loss`` (nats), ``learning_rate``.

    Nothing is decided by it: rows of a damaged file that cannot be read are left out.
    """
    rows, damaged_rows = [], 0
    for line in (folder / CURVE).read_bytes().splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            damaged_rows += 1
    if damaged_rows:
        log.warning("%d rows of %s are damaged; left out", damaged_rows, folder / CURVE)
    return rows


def _run(job: dict[str, Any]) -> None:
    from flywheel.catalog import numeric_types
    from flywheel.modeling import methods

    use_case, folder = UseCase.model_validate(job["use_case"]), Path(job["folder"])
    base = Path(job["base"]) if job["base"] else None
    # without a base a training is over before it could write one
    checkpoint = _checkpoint(folder, _key(job, base)) if base else None
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
            on_pass=lambda tokens: _tell_pass(folder, tokens),
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
    (folder / _LARGEST).unlink(missing_ok=True)
    private_files.replace(folder / COMPLETE, json.dumps(asdict(trained)).encode())


def _checkpoint(folder: Path, key: str) -> Checkpoint:
    from flywheel.modeling.optim.checkpoint import Checkpoint

    return Checkpoint(folder / _CHECKPOINT, key)


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
    right = [max(a, key=a.__getitem__) == label for a, label in zip(answers, labels, strict=True)]
    return _Validated(len(known), sum(right) / len(right), calibration.temperature(answers, labels))


def _key(job: dict[str, Any], base: Path | None) -> str:
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
    with locks.held(path.parent / _LOCK, wait_s=math.inf, busy=busy):
        _alone(path)


def _alone(path: Path) -> None:
    job = json.loads(path.read_text())
    try:
        _run(job)
    except BaseException:
        # the parent quotes this file when there is no complete adapter
        (Path(job["folder"]) / FAILURE).write_text(traceback.format_exc())
        raise


if __name__ == "__main__":
    _main()
