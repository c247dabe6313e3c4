"""Trains in a child process (`flywheel.training.child`), as far as that was not done before."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flywheel import subprocesses
from flywheel.catalog import memory
from flywheel.catalog.base_config import model_type_of
from flywheel.catalog.families import family_of, require_pair
from flywheel.config import UseCase
from flywheel.errors import DataError, DigestMismatch, StoreBusy, TrainingFailed
from flywheel.files import locks
from flywheel.modeling import artifact, context_length, fingerprint
from flywheel.records import Trained
from flywheel.training import child
from flywheel.training.adapter_folder import COMPLETE, PARTIAL, read_trained
from flywheel.training.child import CHECKPOINT, FAILURE, LARGEST, LOCK
from flywheel.training.warm_start import FROM_BASE, Start

log = logging.getLogger(__name__)

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
    if (lock := locks.take(folder / LOCK)) is None:
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
    if (partial / CHECKPOINT).is_file():
        shutil.copy(partial / CHECKPOINT, other)
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
    for left in (FAILURE, LARGEST):
        (path.parent / left).unlink(missing_ok=True)
    with subprocesses.start("flywheel.training.child", str(path)) as process:
        return process.wait()


def in_this_process(path: Path, job: dict[str, Any]) -> int:
    """Train without a child, for methods that need no base: they are done before one has begun."""
    path.write_text(json.dumps(job))
    child.alone(path)
    return 0


def _largest_pass(folder: Path) -> int | None:
    """Tokens of the largest pass that the last try there began; None where it began none."""
    told = folder / LARGEST
    return int(told.read_text()) if told.is_file() else None
