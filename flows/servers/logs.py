"""Keep the logs of an installation small: what is beyond a size goes into numbered older files.

The processes hold their logs open and never open them anew, so that a log is copied and then
emptied. They write at its end, wherever that is. A line that is written between the last look and
the emptying, some microseconds, is lost.
"""

from __future__ import annotations

import os
from pathlib import Path

MOST_BYTES = 10_000_000
"""Of one log; a debugging worker writes as much in some hours, a usual one in months."""
KEPT = 3
"""Older files of each log."""
_CHUNK = 1 << 20


def rotate(folder: Path, *, most_bytes: int = MOST_BYTES) -> list[str]:
    """Empty the logs in ``folder`` that have grown beyond ``most_bytes``; returns their names."""
    grown = [one for one in sorted(folder.glob("*.log")) if one.stat().st_size > most_bytes]
    for log in grown:
        for number in reversed(range(1, KEPT)):
            if older(log, number).exists():
                older(log, number).replace(older(log, number + 1))
        _move(log, older(log, 1))
    return [one.name for one in grown]


def older(log: Path, number: int) -> Path:
    """The file of a log's ``number``-th newest older lines."""
    return log.with_name(f"{log.name}.{number}")


def _move(log: Path, to: Path) -> None:
    """Copy what is in ``log`` to ``to`` and empty it, as it is open in another process."""

    def opener(path: str, flags: int) -> int:
        return os.open(path, flags, log.stat().st_mode & 0o777)

    with log.open("r+b") as source, open(to, "wb", opener=opener) as target:
        while chunk := source.read(_CHUNK):
            target.write(chunk)
        target.flush()
        # what came while the last chunk was written
        while chunk := source.read(_CHUNK):
            target.write(chunk)
        source.truncate(0)
