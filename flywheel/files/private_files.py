"""Files as private as the home, written whole or not at all; secrets among them are made once."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from flywheel.files.permissions import file_mode


def make_once(path: Path, content: bytes) -> None:
    """Write ``content`` to a file that is not there yet; of two processes one makes it for both.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path, content)
    try:
        os.link(partial, path)
    except FileExistsError:
        # another process was faster; its secret is the home's
        pass
    finally:
        partial.unlink()


def replace(path: Path, content: bytes) -> None:
    """Write ``content`` in the place of what may be there.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _partial(path, content).replace(path)


def _partial(path: Path, content: bytes) -> Path:
    partial = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    fd = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, file_mode())
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return partial
