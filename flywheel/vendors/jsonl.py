"""Append-only JSON Lines: a line that a killed process left half-written is as if never begun."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from flywheel.errors import DataError, StoreBusy
from flywheel.files import locks


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Be the only process that asks the vendors of a use case, or takes somebody's answers out.

    Raises:
        StoreBusy: another process is at it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    busy = StoreBusy(
        f"Another process is using the recorded answers in {folder}. Nothing was asked or changed; "
        "try again when it has ended."
    )
    with locks.held(folder / ".lock", busy=busy):
        yield


def read(path: Path) -> list[dict[str, Any]]:
    """Every complete line; none where there is no file.

    Raises:
        DataError: a complete line is not a JSON object.
    """
    if not path.exists():
        return []
    *complete, _ = path.read_bytes().split(b"\n")
    rows = []
    for number, line in enumerate(complete, start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path} line {number} is not JSON. Nothing was asked.") from error
        if not isinstance(row, dict):
            raise DataError(f"{path} line {number} is not an object. Nothing was asked.")
        rows.append(row)
    return rows


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Add a line; on the disk when this returns. For the `only_writer` alone."""
    line = json.dumps(row, ensure_ascii=True).encode() + b"\n"
    with path.open("ab+") as file:
        if _ends_torn(file):
            file.truncate(path.read_bytes().rfind(b"\n") + 1)
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def _ends_torn(file: IO[bytes]) -> bool:
    if file.seek(0, os.SEEK_END) == 0:
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"
