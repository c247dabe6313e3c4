"""Texts to score on another worker, handed over by files of the shared home.

Prefect keeps what it is given as parameters and results; customers' texts do not go there. A job is
a folder of `Home.scoring`, readable by its owner only, and is removed when its answers are read.
What a killed night left goes with the next job of its use case, and with a `flywheel forget`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flywheel.errors import DataError
from flywheel.files import permissions, private_files
from flywheel.files.json_files import read_json
from flywheel.modeling.fingerprint import Fingerprint

_TEXTS = "texts.json"
_EXPECTED = "expected.json"
_ANSWERS = "answers.json"
_ADAPTER = "adapter"


@dataclass(frozen=True)
class Scored:
    """Probabilities by row id, milliseconds per text, the peak of the process that answered, and
    what computed the answers there.

    None of these two: it did not say.
    """

    answers: dict[str, dict[str, float]]
    latency_ms: float
    peak_memory_mb: float | None
    runtime: str | None = None


def write(
    folder: Path, texts: Mapping[str, str], adapter: Path | None, expected: Fingerprint
) -> None:
    """Lay down a job: texts by row id, in their order, and the adapter where it is to travel.

    Answers are kept under the digest of ``expected``: the worker must be that, too.

    Other jobs beside it are left over from killed nights, and are removed. What was answered for
    this one before a kill stays.
    """
    for stale in folder.parent.glob("*"):
        if stale != folder:
            shutil.rmtree(stale)
    folder.mkdir(parents=True, exist_ok=True, mode=permissions.folder_mode())
    told = {"digest": expected.digest, "parts": dict(expected.parts)}
    _replace(folder / _EXPECTED, json.dumps(told))
    _replace(folder / _TEXTS, json.dumps(list(texts.items())))
    if adapter is not None:
        shutil.copytree(adapter, folder / _ADAPTER, dirs_exist_ok=True)


def texts(folder: Path) -> dict[str, str]:
    """The texts of a job, by row id.

    Raises:
        DataError: there is no such job; the worker has another home.
    """
    return dict(_read(folder / _TEXTS))


def expected(folder: Path) -> Fingerprint:
    """What the answers of a job will be kept as.

    Raises:
        DataError: there is no such job; the worker has another home.
    """
    return Fingerprint(**_read(folder / _EXPECTED))


def adapter(folder: Path) -> Path | None:
    """What is to answer; None is the use case's base, zero-shot."""
    found = folder / _ADAPTER
    return found if found.is_dir() else None


def finish(folder: Path, scored: Scored) -> None:
    """Leave what was answered."""
    content = {**asdict(scored), "answers": list(scored.answers.items())}
    _replace(folder / _ANSWERS, json.dumps(content))


def is_finished(folder: Path) -> bool:
    """Whether its answers are there."""
    return (folder / _ANSWERS).is_file()


def answers(folder: Path) -> Scored:
    """What was answered.

    Raises:
        DataError: it is not there.
    """
    content = _read(folder / _ANSWERS)
    # a worker of before says nothing of its memory, or of what computed
    peak, runtime = content.get("peak_memory_mb"), content.get("runtime")
    return Scored(dict(content["answers"]), float(content["latency_ms"]), peak, runtime)


def _read(path: Path) -> Any:
    if not path.is_file():
        raise DataError(
            f"There is no {path.name} in {path.parent}. The workers of both pools must share "
            "FLYWHEEL_HOME. Nothing was scored."
        )
    return read_json(path, so=f"Delete {path.parent}; the next night asks its rows anew.")


def _replace(path: Path, content: str) -> None:
    private_files.replace(path, content.encode(), partial=path.with_suffix(".tmp"))
