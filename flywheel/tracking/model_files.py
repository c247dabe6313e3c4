"""Every file of a registered model's folder, by hash: what was added, changed or removed since.

The digest hashes what decides an answer. A folder in the registry holds more, such as code that is
never run from there; these hashes notice any change of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from flywheel.files import hashing

MODEL_FILE = "MLmodel"
NOT_OURS = frozenset({"registered_model_meta"})
"""What MLflow writes into the folder whenever it is looked up; nobody here reads it."""
_CACHES = "__pycache__"
"""Python leaves it where ``mlflow models serve`` ran code; nothing here runs any."""
_SHOWN = 5


def hashes(folder: Path) -> dict[str, str]:
    """Path within ``folder`` → sha256, of every file that `changes` watches."""
    found = {}
    for path in sorted(folder.rglob("*")):
        within = path.relative_to(folder)
        if path.is_dir() or str(within) in NOT_OURS or _CACHES in within.parts:
            continue
        found[within.as_posix()] = hashing.of_file(path)
    return found


def folder_sha256(files: Mapping[str, str]) -> str:
    """One hash over the paths and contents of `hashes`."""
    return hashing.of_json(files)


def changes(recorded: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """What happened to which file, in words; nothing when all are as recorded."""
    named = [
        *(
            f"{name} was changed"
            for name in recorded
            if name in found and recorded[name] != found[name]
        ),
        *(f"{name} was added" for name in found if name not in recorded),
        *(f"{name} was removed" for name in recorded if name not in found),
    ]
    more = len(named) - _SHOWN
    return named[:_SHOWN] + ([f"{more} more"] if more > 0 else [])
