"""Converted models as folders of the home: made once for each digest, whole or not at all.

``lane.json`` is written last within a folder, and names the others by their sha256, what the model
answered by torch, and what it was converted from. A model that cannot be converted leaves a folder,
too, which says why, so that it is not tried at every start. The folder may be deleted at any time.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from flywheel.files import hashing, permissions, private_files
from flywheel.files.json_files import damaged, read_json

RECORD = "lane.json"
BODY, WEIGHTS, WORDS = "body.xml", "body.bin", "words.safetensors"
MOST_KEPT = 4
"""Of a use case: the champion, the one before, a challenger and the base, half a gigabyte each for
the default base."""
_PARTIAL = ".partial-"
_STALE_S = 3_600
"""Nothing is converted for so long: who did was killed."""
_SO = "Delete its folder: the model is converted anew."


@dataclass(frozen=True)
class Record:
    """What a folder holds. ``refused`` is why nothing is in it, and torch answers; ``differs`` that
    it was converted, and gave other scores than torch.

    ``texts`` were asked of torch in float32, and ``scores`` is what it gave: ``(texts, labels)``.
    """

    files: dict[str, str]
    texts: Sequence[str] = ()
    scores: Sequence[Sequence[float]] = ()
    refused: str | None = None
    differs: bool = False


def read(folder: Path) -> Record | None:
    """What ``folder`` holds, each file as it was written; None where nothing was kept.

    Raises:
        DataError: a file is damaged or missing.
    """
    try:
        told = read_json(folder / RECORD, so=_SO)
    except FileNotFoundError:
        return None
    try:
        record = Record(**told)
    except TypeError as error:
        raise damaged(folder / RECORD, "it describes no converted model", so=_SO) from error
    for name, sha in record.files.items():
        path = folder / name
        if not path.is_file() or hashing.of_file(path) != sha:
            raise damaged(path, "it is not as it was written", so=_SO)
    # the newest used stay
    os.utime(folder)
    return record


def make(folder: Path, fill: Callable[[Path], Record]) -> Record:
    """Let ``fill`` write a folder and say what is in it; of two processes the first one stays.

    The oldest of the folders beside it go.

    Raises:
        OSError: it cannot be written; nothing is left.
    """
    partial = folder.with_name(f"{_PARTIAL}{folder.name}-{secrets.token_hex(4)}")
    partial.mkdir(parents=True, mode=permissions.folder_mode())
    try:
        record = fill(partial)
        for name in record.files:
            (partial / name).chmod(permissions.file_mode())
        private_files.replace(partial / RECORD, json.dumps(asdict(record)).encode())
        try:
            partial.rename(folder)
        except OSError:
            # another process was faster
            if not (folder / RECORD).is_file():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _forget_oldest(folder.parent)
    return record


def refuse(folder: Path, why: str) -> None:
    """Keep in the place of a model why it is not used."""
    record = Record({}, refused=why, differs=True)
    private_files.replace(folder / RECORD, json.dumps(asdict(record)).encode())
    for name in (BODY, WEIGHTS, WORDS):
        (folder / name).unlink(missing_ok=True)


def drop(folder: Path) -> None:
    """Remove a folder that cannot be used."""
    shutil.rmtree(folder, ignore_errors=True)


def hashed(folder: Path, *names: str) -> dict[str, str]:
    """The sha256 of the files that are there, by name."""
    return {name: hashing.of_file(folder / name) for name in names if (folder / name).is_file()}


def _forget_oldest(parent: Path) -> None:
    """Who has one open keeps what it reads. What a killed process left goes, too."""
    for path in parent.glob(f"{_PARTIAL}*"):
        if time.time() - path.stat().st_mtime > _STALE_S:
            drop(path)
    kept = [path for path in parent.iterdir() if not path.name.startswith(_PARTIAL)]
    for path in sorted(kept, key=lambda one: one.stat().st_mtime, reverse=True)[MOST_KEPT:]:
        drop(path)
