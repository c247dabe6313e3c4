"""Processes of one home that wait for the same thing, in the order in which they came.

Each leaves a file and touches it for as long as it waits; the oldest is first. One that was killed
or stopped touches it no longer, and is passed over after some seconds, so that nobody waits for who
does not. Where the home cannot be written to, a process waits without a place in line.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

FRESH_S = 5.0
"""Who has not touched its file for so long does not wait any more."""
GONE_S = 60.0
"""After that its file is removed by whoever looks."""
_PREFIX, _SUFFIX = "waits-", ".lock"


@dataclass(frozen=True)
class Waiter:
    """``who`` (process ``pid``) waits for ``what`` since ``since_s`` (1970); ``held_by``: a pid."""

    who: str
    what: str
    pid: int
    since_s: float
    held_by: int | None = None


class Place:
    """A place in line, taken when it is made."""

    def __init__(self, root: Path, *, who: str, what: str) -> None:
        self.root = root
        self.waiter = Waiter(who, what, os.getpid(), time.time())
        name = f"{_PREFIX}{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(2)}{_SUFFIX}"
        self.path = root / name
        self._write()

    def ahead(self) -> list[Waiter]:
        """Who waits for the same and came before, the first first; says that this one still waits.

        Empty for one whose file could not be written.
        """
        try:
            os.utime(self.path)
        except OSError:
            self._write()
        names = _names(self.root)
        if self.path.name not in names:
            return []
        before = names[: names.index(self.path.name)]
        return _waiters(self.root, before, self.waiter.what)

    def held_by(self, pid: int | None) -> None:
        """Say which process has what is waited for."""
        if pid != self.waiter.held_by:
            self.waiter = Waiter(**{**asdict(self.waiter), "held_by": pid})
            self._write()

    def leave(self) -> None:
        """Wait no longer."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        # in one go: who reads half of it passes it over once
        with suppress(OSError):
            self.path.write_text(json.dumps(asdict(self.waiter)), encoding="utf-8")


def waiters(root: Path, what: str | None = None) -> list[Waiter]:
    """Who waits in a home, the first first: for ``what``, or for anything."""
    return _waiters(root, _names(root), what)


def _names(root: Path) -> list[str]:
    try:
        names = os.listdir(root)
    except OSError:
        return []
    return sorted(one for one in names if one.startswith(_PREFIX) and one.endswith(_SUFFIX))


def _waiters(root: Path, names: list[str], what: str | None) -> list[Waiter]:
    found = []
    for name in names:
        path = root / name
        try:
            age = time.time() - path.stat().st_mtime
            if age > GONE_S:
                path.unlink(missing_ok=True)
            if age > FRESH_S:
                continue
            one = Waiter(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            # gone meanwhile, or half written
            continue
        if what in (None, one.what):
            found.append(one)
    return found
