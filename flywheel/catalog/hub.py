"""Bases from huggingface.co: fetched at their pinned commit, or taken from a folder, never pickled.

Nothing is fetched unless the user says so: ``HF_HUB_OFFLINE`` is 1 unless they set it to 0.
"""

from __future__ import annotations

import fnmatch
import os
import shutil
from pathlib import Path

from flywheel.catalog import Hub, Model
from flywheel.catalog.base_config import settings_of
from flywheel.errors import DataError, TransientError
from flywheel.urls import without_secrets

WANTED = (
    "config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "spiece.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "preprocessor_config.json",
)
"""Files of a base, as patterns. Nothing else is fetched; no weights but safetensors."""


def is_wanted(name: str) -> bool:
    """Whether a base needs the file of that name."""
    return any(fnmatch.fnmatch(name, pattern) for pattern in WANTED)


def command(model: Model, folder: Path) -> str:
    """What a person types to download it there: the files that `fetch` would bring, no others.

    Raises:
        DataError: no revision of it is pinned.
    """
    source = _source(model)
    included = " ".join(f"--include '{pattern}'" for pattern in WANTED)
    return (
        f"hf download {source.repository} --revision {source.revision} "
        f"--local-dir {folder} {included}"
    )


def fetch(model: Model, folder: Path, wanted: Path) -> None:
    """Download it into ``folder`` at its pinned commit; ``wanted`` is where it is to be.

    Raises:
        DataError: no revision is pinned, or nothing may be fetched; it says what to do.
        TransientError: the hub did not give it.
    """
    source = _source(model)
    if os.environ.get("HF_HUB_OFFLINE", "1").lower() not in {"0", "", "no", "off", "false"}:
        raise DataError(
            f"Base {model.name} is not in {wanted}, and HF_HUB_OFFLINE keeps it from being "
            f"fetched. Set HF_HUB_OFFLINE=0, or download it yourself: {command(model, wanted)}"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        snapshot_download(
            source.repository,
            revision=source.revision,
            local_dir=folder,
            allow_patterns=list(WANTED),
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        gated = " Its owner wants you to sign its licence first." if source.gated else ""
        raise TransientError(
            f"{source.repository} could not be fetched; nothing was changed.{gated} "
            f"The last words: {without_secrets(str(error).strip())[-300:]}"
        ) from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    require_usable(model, folder)


def require_usable(model: Model, folder: Path) -> None:
    """Refuse a folder that is not this base, or whose weights are not safetensors.

    Raises:
        DataError: it says what was expected and what was found.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise DataError(f"{folder} holds no base model: config.json is missing.")
    config = settings_of(folder)
    for name, expected in model.config.items():
        if name in config and config[name] != expected:
            raise DataError(
                f"{folder} is not {model.name}: its config.json says {name} {config[name]!r}, "
                f"expected {expected!r}."
            )
    if not any(folder.glob("*.safetensors")):
        raise DataError(
            f"{folder} holds no safetensors; pickled weights run code when they are read, and are "
            f"refused. Take a revision of {model.name} that has safetensors."
        )


def _source(model: Model) -> Hub:
    assert isinstance(model.source, Hub)
    if model.source.revision is None:
        raise DataError(
            f"No revision of {model.name} is pinned, so it is not fetched. Look at "
            f"{model.source.repository}, and pin one that holds safetensors in flywheel/catalog."
        )
    return model.source
