"""The warehouse's file while nobody writes to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import duckdb

from flywheel.errors import DataError
from flywheel.store.opening import connected
from flywheel.store.waiting import LOCK_WAIT_S


@contextmanager
def without_writers(path: Path) -> Iterator[None]:
    """Nobody writes to the file meanwhile; a damaged one is nobody's to wait for.

    Raises:
        StoreBusy: somebody held it for longer than `LOCK_WAIT_S`.
    """
    with ExitStack() as last:
        with suppress(DataError, duckdb.Error):
            last.callback(connected(path, read_only=True, wait_s=LOCK_WAIT_S).close)
        yield
