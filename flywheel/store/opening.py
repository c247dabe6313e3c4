"""Opens the warehouse for one step, in turn with the processes that wait for it too.

DuckDB lets one process write at a time, so hold a store for as long as one step needs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import duckdb

from flywheel.errors import DataError, StoreBusy
from flywheel.store import instance
from flywheel.store.instance import Opened, OpenOtherwise
from flywheel.store.migrations import is_behind, migrate
from flywheel.store.waiting import Waiting
from flywheel.store.warehouse import Store


@contextmanager
def open_store(
    path: Path, *, read_only: bool = False, wait_s: float | None = None
) -> Iterator[Store]:
    """Open the warehouse for one step; the first opening creates it and applies migrations.

    Reading alone changes nothing in the file, once its migrations are applied. With ``wait_s`` None
    it waits for as long as `flywheel.store.waiting.patience_s` says.

    Raises:
        StoreBusy: another process held it for longer than ``wait_s``, or wrote the same rows.
        DataError: the file is no database, or cannot be read or written.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        if read_only:
            connected(path, read_only=False, wait_s=wait_s).close()
    opened = connected(path, read_only=read_only, wait_s=wait_s)
    if read_only and is_behind(opened.con):
        opened.close()
        connected(path, read_only=False, wait_s=wait_s).close()
        opened = connected(path, read_only=True, wait_s=wait_s)
    try:
        yield Store(opened.con, path)
    except duckdb.TransactionException as error:
        raise StoreBusy(
            f"Another writer changed {path} at the same time. Nothing was written; try again.",
            path=str(path),
        ) from error
    finally:
        opened.close()


@contextmanager
def frozen_file(path: Path) -> Iterator[BinaryIO]:
    """The warehouse's file, whole and with nobody writing to it, to be copied.

    Raises:
        StoreBusy, DataError: as `open_store`.
    """
    with ExitStack() as last, open_store(path) as store:
        store.con.execute("CHECKPOINT")
        # closed after the store: to close any handle of a file lets go of DuckDB's lock on it
        yield last.enter_context(path.open("rb"))


def connected(path: Path, *, read_only: bool, wait_s: float | None) -> Opened:
    """Open the file as `open_store` does, and migrate it where it may be written."""
    waiting = Waiting(path, wait_s)
    try:
        while True:
            # who has it open already must get on with it, or nobody does
            if not (instance.is_open(path) or waiting.is_ones_turn()):
                waiting.again(None)
                continue
            try:
                return _open(path, read_only=read_only)
            except (duckdb.IOException, OpenOtherwise, duckdb.TransactionException) as e:
                if isinstance(e, duckdb.IOException) and "lock" not in str(e).lower():
                    raise DataError(
                        f"The warehouse {path} cannot be opened: {e}. Nothing was read or written; "
                        "see to the file (is it a DuckDB database, may it be read and written, is "
                        "the disk full?) or put a copy back.",
                        path=str(path),
                    ) from e
                waiting.again(e)
    finally:
        waiting.over()


def _open(path: Path, *, read_only: bool) -> Opened:
    opened = instance.connect(path, read_only=read_only)
    with ExitStack() as undo:
        undo.callback(opened.close)
        if not read_only:
            migrate(opened.con)
        undo.pop_all()
    return opened
