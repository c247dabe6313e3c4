"""Which rows of a snapshot a training learns from, as its method reads them: inside its process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, cast

from flywheel.config import UseCase
from flywheel.dataset import snapshots
from flywheel.errors import DataError
from flywheel.modeling import fingerprint
from flywheel.modeling.fingerprint import Fingerprint
from flywheel.modeling.methods import Rows
from flywheel.records import Example
from flywheel.training import warm_start
from flywheel.training.warm_start import Lesson

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
    examples: Iterable[Example],
    split: Literal["train", "validation"],
    lesson: Lesson | None = None,
) -> Rows:
    """The rows of a split as a method learns from them: all, or those of a ``lesson``."""
    found = [one for one in examples if one.split == split]
    if lesson is not None:
        wanted = {*lesson.new, *lesson.replayed}
        found = [one for one in found if one.example_id in wanted]
    texts, weights = [one.text for one in found], [one.weight for one in found]
    if use_case.is_generation:
        return Rows(texts, [], weights, [cast(str, one.label) for one in found])
    names = use_case.label_names
    targets = [
        [i for i, name in enumerate(names) if name == one.label]
        or [i for i, name in enumerate(names) if name not in one.excluded]
        for one in found
    ]
    return Rows(texts, targets, weights)


def going_on(start: Mapping[str, Any] | None, replay: float) -> dict[str, Any]:
    """What else names a training that goes on from other weights; nothing for one that does not."""
    if start is None:
        return {}
    told = {name: list(start[name]) if name == "snapshots" else start[name] for name in _DECISIVE}
    return {"start": {**told, "replay": replay}}
