"""Which rows of a snapshot a training learns from, as its method reads them: inside its process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from flywheel import fingerprint, snapshots, warm_start
from flywheel.config import UseCase
from flywheel.errors import DataError
from flywheel.fingerprint import Fingerprint
from flywheel.warm_start import Lesson

_DECISIVE = ("digest", "snapshots")
"""What of a warm start decides what is learned."""


def find(use_case: UseCase, job: Mapping[str, Any], base: Path | None) -> Lesson | None:
    """Which rows a training that goes on from other weights learns from; None for all.

    The night looked at what allows it when it chose; beside the rows it is looked at again.

    Raises:
        DataError: what those weights learned from does not fit tonight's rows.
        DigestMismatch: they are not the ones that were measured.
    """
    start, folder = job["start"], Path(job["snapshots_dir"])
    if start is None:
        return None
    fingerprint.require_same(
        Fingerprint(start["digest"]),
        fingerprint.of(use_case, base, Path(start["adapter"])),
        what=f"Version {start['version']}",
        so="Nothing goes on from it.",
    )
    tonight = snapshots.read(folder, job["snapshot_id"])
    learned = [one for name in start["snapshots"] for one in snapshots.read(folder, name)]
    why_not = warm_start.misfit(tonight, learned)
    if why_not:
        raise DataError(f"Nothing goes on from version {start['version']}: {why_not}.")
    return warm_start.lesson(
        *({one.example_id for one in warm_start.trained_on(part)} for part in (tonight, learned)),
        ratio=use_case.training.replay,
        seed=f"{use_case.training.seed}:{start['digest']}",
    )


def rows(
    use_case: UseCase,
    job: Mapping[str, Any],
    split: Literal["train", "validation"],
    lesson: Lesson | None = None,
) -> Any:
    """The rows of a split as a method learns from them: all, or those of a ``lesson``."""
    from flywheel.methods import Rows

    found = snapshots.load_split(Path(job["snapshots_dir"]), job["snapshot_id"], split)
    if lesson is not None:
        wanted = {*lesson.new, *lesson.replayed}
        kept = [i for i, name in enumerate(found["example_id"]) if name in wanted]
        found = found.select(kept, keep_in_memory=True)
    if use_case.generates:
        return Rows(list(found["text"]), [], list(found["weight"]), list(found["label"]))
    targets = [
        [i for i, name in enumerate(use_case.label_names) if name == label]
        or [i for i, name in enumerate(use_case.label_names) if name not in excluded]
        for label, excluded in zip(found["label"], found["excluded"], strict=True)
    ]
    return Rows(list(found["text"]), targets, list(found["weight"]))


def going_on(start: Mapping[str, Any] | None, replay: float) -> dict[str, Any]:
    """What else names a training that goes on from other weights; nothing for one that does not."""
    if start is None:
        return {}
    told = {name: list(start[name]) if name == "snapshots" else start[name] for name in _DECISIVE}
    return {"start": {**told, "replay": replay}}
