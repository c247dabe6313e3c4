"""Put feedback into an inbox as any system should: under another name, then renamed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from flywheel.files import private_files

PARTIAL = ".open"
"""The end of the name of a file that is not whole yet."""


def drop(inbox: Path, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a JSON Lines file of rows into the inbox."""
    inbox.mkdir(parents=True, exist_ok=True)
    write(inbox / name, "".join(f"{line(row)}\n" for row in rows))


def line(row: Mapping[str, Any]) -> str:
    """A row as a JSON Lines file has it."""
    return json.dumps(row, ensure_ascii=False, default=str)


def write(path: Path, content: str) -> None:
    """Write a file whole or not at all, and onto the disk."""
    partial = path.with_name(f"{path.name}{PARTIAL}")
    private_files.replace(path, content.encode(), partial=partial)


def digest(rows: Iterable[Mapping[str, Any]]) -> str:
    """For a file's name, so that one which waits in the inbox is not written over by another."""
    return hashlib.sha256("".join(map(line, rows)).encode("utf-8", "replace")).hexdigest()[:8]
