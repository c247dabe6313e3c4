"""Files as private as the home, written whole or not at all; secrets among them are made once."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
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


def replace(path: Path, content: bytes, *, partial: Path | None = None) -> None:
    """Write ``content`` in the place of what may be there; whole, on the disk, or not at all.

    ``partial`` is the name that it is written under first, where that one is looked for elsewhere:
    what a killed process left of texts must be found, and is written over by the next.

    Raises:
        OSError: it cannot be written; what was there is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if partial is not None:
        partial.unlink(missing_ok=True)
    _partial(path, content, partial).replace(path)


@contextmanager
def replacing(path: Path, *, partial: Path) -> Iterator[Path]:
    """`replace` for what a library writes: it writes ``partial``, which becomes ``path`` then.

    Its rights are those that the process' umask leaves. Where the body raises, ``path`` is as it
    was, and nothing is left of ``partial``.

    Raises:
        OSError: it cannot be written.
    """
    try:
        yield partial
        put_on_disk(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def put_on_disk(path: Path) -> None:
    """Return when a file's content is on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _partial(path: Path, content: bytes, name: Path | None = None) -> Path:
    partial = name or path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    fd = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, file_mode())
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        # a full disk is not to fill with what is left
        partial.unlink(missing_ok=True)
        raise
    return partial
