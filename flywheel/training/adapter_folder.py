"""What a training leaves: an adapter, its loss by step, and a record that is written last.

The folder gets its name after that: partial is never taken for complete.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from flywheel.config import UseCase
from flywheel.errors import DataError
from flywheel.files.json_files import damaged, read_json
from flywheel.modeling import artifact
from flywheel.records import Trained

log = logging.getLogger(__name__)

COMPLETE = "trained.json"
CURVE = "curve.jsonl"
PARTIAL = ".tmp-"
"""Folders that begin so hold what is not complete."""
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
