"""The settings files of a base (``config.json`` and others), read from its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flywheel.files.json_files import damaged, read_json

CONFIG = "config.json"
_SO = (
    "Nothing was changed. Delete {folder} and run the same command again, which fetches the base "
    "anew; put a base that you downloaded yourself there again."
)


def settings_of(base: Path, name: str = CONFIG) -> dict[str, Any]:
    """What one of a base's settings files says.

    Raises:
        DataError: it is no JSON, or no settings; it says what to do.
        FileNotFoundError: it is not there.
    """
    path, so = base / name, _SO.format(folder=base)
    found = read_json(path, so=so)
    if not isinstance(found, dict):
        raise damaged(path, "it holds no settings", so=so)
    return found


def model_type_of(base: Path) -> str:
    """The architecture that a base names.

    Raises:
        DataError: as `settings_of`, or it names none.
    """
    found = settings_of(base).get("model_type")
    if not isinstance(found, str):
        raise damaged(base / CONFIG, "it names no model_type", so=_SO.format(folder=base))
    return found
