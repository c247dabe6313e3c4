"""Who may read the home: its owner alone, or its group, too, where ``FLYWHEEL_UMASK`` says so.

A home holds what customers wrote, and keys. Each process that works in one sets its umask here,
at its start; what it makes is then closed to everybody else, whichever library makes it.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from pathlib import Path

from flywheel.errors import ConfigError

VARIABLE = "FLYWHEEL_UMASK"
OWNER_ONLY = 0o077
_OTHERS = 0o007
_MINE = ("warehouse.duckdb", "inbox", "snapshots", "models", "serving", "mlflow.db", "prefect")
"""What tells a home from a folder that is merely named as one."""


def umask() -> int:
    """The rights that are taken from whatever is made: of group and others, unless set otherwise.

    Raises:
        ConfigError: ``FLYWHEEL_UMASK`` would let others in, or its owner not.
    """
    given = os.environ.get(VARIABLE, "")
    if not given:
        return OWNER_ONLY
    if not re.fullmatch(r"0?0[0-7]7", given):
        raise ConfigError(
            f"{VARIABLE} is {given!r}; expected 077 (the owner alone), 027 (its group reads) or "
            "007 (its group reads and writes). Nothing was changed."
        )
    return int(given, 8)


def keep_private() -> None:
    """Let what this process and its children make be readable as `umask` says."""
    os.umask(umask())


def folder_mode() -> int:
    """The mode of a folder that must be closed whatever the process' own umask is."""
    return 0o777 & ~umask()


def file_mode() -> int:
    """The mode of a file that must be closed whatever the process' own umask is."""
    return 0o666 & ~umask()


def make_home(root: Path) -> None:
    """Make the home's folder where there is none; close one that is there, if it is ours to close.

    A folder that hands its group on (setgid) was shared on purpose, and stays its group's. A sticky
    one, as ``/tmp``, and one that holds nothing of ours, are somebody else's, too.

    Raises:
        OSError: it cannot be made.
    """
    if not root.is_dir():
        root.parent.mkdir(parents=True, exist_ok=True)
        root.mkdir(mode=folder_mode(), exist_ok=True)
        return
    found = root.stat()
    mode = stat.S_IMODE(found.st_mode)
    ours = found.st_uid == os.geteuid() and any((root / name).exists() for name in _MINE)
    taken = umask() & (_OTHERS if mode & stat.S_ISGID else OWNER_ONLY)
    if ours and not mode & stat.S_ISVTX and mode & taken:
        # what cannot be closed the doctor names
        with suppress(OSError):
            root.chmod(mode & ~taken)


def open_door(root: Path) -> str | None:
    """What others on this machine may read of a home and should not; None where nothing."""
    if any(not folder.stat().st_mode & stat.S_IXOTH for folder in (root, *root.parents)):
        return None
    found = sorted(
        path.relative_to(root).as_posix()
        for path in root.iterdir()
        if not path.is_symlink() and path.stat().st_mode & stat.S_IROTH
    )
    what = f", and in it {', '.join(found[:3])}" if found else ""
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return (
        f"Everybody on this machine may enter {root}{what}{more}. Customers' texts and keys are "
        f"there. Its owner closes it by: chmod -R o= {root}"
    )
