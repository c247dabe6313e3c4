"""Python processes that this one starts, which import nothing from the folder it was started in.

``python -m`` looks for every module in the working folder first. A person's ``queue.py`` or
``http.py`` would be run there in place of Python's own: it ends the process by a traceback, and a
file that somebody else put there is run with the rights of the night.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """``own`` with the working folder left out, and flywheel found wherever it lies."""
    paths = [one for one in own.get("PYTHONPATH", "").split(os.pathsep) if one]
    root = str(Path(__file__).resolve().parents[1])
    # first on the path, installed packages would hide Python's own modules of the same name
    if root not in (*paths, sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        paths.append(root)
    return {**own, "PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(paths)}


@contextmanager
def kept_apart(environ: MutableMapping[str, str]) -> Iterator[None]:
    """Let what is started meanwhile, by libraries too, leave the working folder out."""
    before = environ.get("PYTHONSAFEPATH")
    environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del environ["PYTHONSAFEPATH"]
        else:
            environ["PYTHONSAFEPATH"] = before


def start(
    module: str,
    *arguments: str,
    environ: Mapping[str, str] | None = None,
    stderr: IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """Run a module in a session of its own, its stdin a pipe from here.

    ``environ`` and ``stderr`` stand in the place of this process's. Ctrl-C is for the night, which
    ends the child by its stdin; heard there, it would be a traceback.
    """
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        start_new_session=True,
        env=environment(os.environ if environ is None else environ),
    )


def end_with_parent() -> None:
    """Leave when the parent is gone: its end of standard input closes, however it died."""

    def watch() -> None:
        os.read(sys.stdin.fileno(), 1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
