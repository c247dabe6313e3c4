"""One DuckDB instance a process, which files are attached to for as long as somebody has them open.

To begin an instance costs about ten times what it costs to attach a file to one, and a night opens
the warehouse some seventy times. The file's lock is held while it is attached and no
longer, as if each opening were an instance of its own. What DuckDB sets down where memory runs out
lies beside the file, and what memory an opening took goes back with it.
"""

from __future__ import annotations

import atexit
import itertools
import os
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import duckdb

STORAGE_VERSION = "v1.5.0"
"""Of new files."""
_KEPT_BYTES = 64 * 2**20
"""What DuckDB's allocator may keep of what an opening took."""


class OpenOtherwise(Exception):
    """This process has the file open, in a way that lets nobody else here open it now."""


@dataclass
class _Attached:
    name: str
    read_only: bool
    users: int = 0


@dataclass(frozen=True)
class Opened:
    """A connection whose tables are those of one file."""

    con: duckdb.DuckDBPyConnection
    _file: str

    def close(self) -> None:
        """Roll back what is open, and let go of the file if nobody else here has it."""
        with _lock:
            self.con.close()
            attached = _attached[self._file]
            attached.users -= 1
            if attached.users == 0:
                del _attached[self._file]
                _detach(attached.name)


_lock = threading.RLock()
_instance: duckdb.DuckDBPyConnection | None = None
_spill = ""
"""Where the instance sets down what does not fit into memory: beside the file it began with."""
_attached: dict[str, _Attached] = {}
_names = (f"file_{number}" for number in itertools.count())
_taken_before = 0
_lost: list[object] = []
"""Of the parent that this process was forked from: its threads are not here to be ended."""


def connect(path: Path, *, read_only: bool) -> Opened:
    """Open a file, which is made where there is none and ``read_only`` is False.

    Raises:
        OpenOtherwise: this process has the file open in another mode, or was forked while it had.
        duckdb.Error: another process holds the file, or it is no database.
    """
    file = os.path.realpath(path)
    with _lock:
        attached = _attached.get(file)
        if attached is None:
            attached = _Attached(next(_names), read_only)
            _attach(path, attached)
            _attached[file] = attached
        if attached.read_only != read_only:
            raise OpenOtherwise
        attached.users += 1
        opened = Opened(_living().cursor(), file)
        with ExitStack() as undo:
            undo.callback(opened.close)
            opened.con.execute(f"USE {attached.name}")
            opened.con.execute("SET TimeZone = 'UTC'")
            opened.con.execute("SET enable_progress_bar = false")
            undo.pop_all()
        return opened


def is_open(path: Path) -> bool:
    """Whether this process has the file open."""
    with _lock:
        return os.path.realpath(path) in _attached


def _attach(path: Path, attached: _Attached) -> None:
    global _taken_before
    spill = f"{path}.tmp"
    if not _attached:
        _taken_before = _resident_bytes()
        if spill != _spill:
            _end_if_idle()
    mode = "READ_ONLY" if attached.read_only else "READ_WRITE"
    try:
        _living(spill).execute(f"ATTACH {_quoted(path)} AS {attached.name} ({mode})")
    except duckdb.FatalException as error:
        # one of the others found its file damaged, and the instance ends with the last of them
        _end_if_idle()
        raise OpenOtherwise from error
    except duckdb.BinderException as error:
        if "already attached" not in str(error):
            raise
        # this process was forked while its parent had the file open
        raise OpenOtherwise from error


def _detach(name: str) -> None:
    try:
        _living().execute(f"DETACH {name}")
    except duckdb.FatalException:
        # a damaged file: nothing can be done with this instance any more
        _end_if_idle()
    if _resident_bytes() > _taken_before + _KEPT_BYTES:
        _end_if_idle()


def _resident_bytes() -> int:
    """Memory of this process; 0 where the system does not say it so."""
    try:
        pages = Path("/proc/self/statm").read_bytes().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _living(spill: str = "") -> duckdb.DuckDBPyConnection:
    global _instance, _spill
    if _instance is None:
        _spill = spill
        _instance = duckdb.connect(
            config={"storage_compatibility_version": STORAGE_VERSION, "temp_directory": spill}
        )
    return _instance


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def _end_if_idle() -> None:
    global _instance
    if _instance is not None and not _attached:
        _instance.close()
        _instance = None


# ---- A forked child has none of the instance's threads, so that it must begin its own.


def _before_fork() -> None:
    _lock.acquire()
    _end_if_idle()


def _after_fork_in_child() -> None:
    global _instance
    if _instance is not None:
        _lost.extend((_instance, dict(_attached)))
        _instance = None
        _attached.clear()
    _lock.release()


os.register_at_fork(
    before=_before_fork, after_in_parent=_lock.release, after_in_child=_after_fork_in_child
)
atexit.register(_end_if_idle)
