"""What a training leaves: one folder, whatever the method, and what it says about itself.

``method.json`` names method, base and temperature. ``adapter_model.safetensors`` holds the weights;
beside it lies what the method needs to read them. A folder without ``method.json`` is older than
that file: QLoRA on the use case's base.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flywheel.catalog.base_models import ensure_base
from flywheel.config import Home, UseCase
from flywheel.errors import ConfigError, DataError, DigestMismatch
from flywheel.files.json_files import damaged, read_json

METHOD = "method.json"
WEIGHTS = "adapter_model.safetensors"
PEFT_CONFIG = "adapter_config.json"
HEAD = "head.safetensors"
VOCABULARY = "vocabulary.json"
SHOTS = "shots.json"
PROMPT = "prompt.json"
"""How prompts are encoded that answers are written to, where it is not as it was at first."""
DECISIVE = (PEFT_CONFIG, WEIGHTS, METHOD, HEAD, VOCABULARY, SHOTS, PROMPT)
"""Every file that decides an answer, in the order in which they are hashed."""
WITHOUT_TEXTS = frozenset(
    [
        *(PEFT_CONFIG, METHOD, PROMPT, VOCABULARY, "curve.jsonl"),
        *("MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt"),
        *("pyfunc_model.py", "served_model.py", "registered_model_meta"),
    ]
)
"""Files of a version that hold no text of a person; somebody may well write words of theirs."""
_SO = (
    "Nothing was answered or changed. What a training left is trained anew once its folder is "
    "deleted; for a version, flywheel rollback names another one, or flywheel restore brings a "
    "backup back."
)


@dataclass(frozen=True)
class Artifact:
    """How to read a folder. ``base`` is its name, None where the method needs none.

    Log-probabilities are divided by ``temperature`` before they are given out. ``parent`` is the
    digest of the version whose weights it went on from, None for one that began at the base.
    """

    method: str
    base: str | None
    temperature: float = 1.0
    parent: str | None = None


def read(use_case: UseCase, folder: Path | None) -> Artifact:
    """What lies in ``folder``; None is the use case's base as it is, zero-shot.

    Raises:
        DataError: the folder's file that says so is damaged.
    """
    if folder is None:
        return Artifact("zero_shot", use_case.training.zero_shot_base)
    path = folder / METHOD
    if not path.is_file():
        return Artifact("qlora", use_case.training.base)
    told = read_json(path, so=_SO)
    try:
        return Artifact(**told)
    except TypeError as error:
        raise damaged(path, "it does not say how the folder is read", so=_SO) from error


def peft_config(folder: Path) -> dict[str, Any]:
    """What PEFT is told of the adapter in ``folder``.

    Raises:
        DataError: the file is damaged.
        FileNotFoundError: it is not there.
    """
    told = read_json(folder / PEFT_CONFIG, so=_SO)
    if not isinstance(told, dict):
        raise damaged(folder / PEFT_CONFIG, "it describes no adapter", so=_SO)
    return told


def write(folder: Path, artifact: Artifact) -> None:
    """Say in ``folder`` how it is read."""
    told = asdict(artifact)
    if artifact.parent is None:
        # as it was before there were parents: the file is part of every digest
        del told["parent"]
    (folder / METHOD).write_text(json.dumps(told, indent=2, sort_keys=True))


def base_folder(use_case: UseCase, home: Home, folder: Path | None) -> Path | None:
    """The base that ``folder`` was trained on, fetched if it is not here; None if it needs none.

    Raises:
        DataError: it is not here, and cannot be fetched.
        ConfigError: as that, of the base which the use case names, without a ``folder``.
    """
    name = read(use_case, folder).base
    try:
        return None if name is None else ensure_base(name, home)
    except ConfigError as error:
        if folder is None:
            raise
        raise DataError(
            f"The base {name}, which {folder.name} was trained on, is not in {home.models} any "
            "more, and no catalog has it; put it back there.",
            base=name,
        ) from error


def sha256(folder: Path) -> str:
    """One hash over all that decides an answer.

    Raises:
        DigestMismatch: its weights, or what says how to read them, are not there.
    """
    required = {WEIGHTS} if (folder / METHOD).is_file() else {PEFT_CONFIG, WEIGHTS}
    result = hashlib.sha256()
    for name in DECISIVE:
        file = folder / name
        if file.is_file():
            result.update(file.read_bytes())
        elif name in required:
            raise DigestMismatch(f"The adapter has lost {name}; it is not what was measured.")
    return result.hexdigest()
