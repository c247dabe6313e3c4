"""Where exports of a version lie, as tags of it: what left cannot be taken back, but be named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

PREFIX = "export."
"""Of the tags; what follows is of the folder's path."""


def key(folder: Path) -> str:
    """The tag of an export that lies in ``folder``."""
    return PREFIX + hashlib.sha256(str(folder).encode()).hexdigest()[:12]


def value(folder: Path, *, form: str, at: str) -> str:
    """What the tag says."""
    return json.dumps({"form": form, "to": str(folder), "at": at})


def places(tags: Mapping[str, str]) -> tuple[str, ...]:
    """Each export of a version in a few words, by its tags; what a person wrote there as it is."""
    return tuple(sorted(_said(said) for name, said in tags.items() if name.startswith(PREFIX)))


def _said(tag: str) -> str:
    try:
        found = json.loads(tag)
        return f"{found['form']} in {found['to']} since {found['at'][:10]}"
    except (ValueError, KeyError, TypeError):
        return tag
