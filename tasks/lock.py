"""One night at a time: an operating-system lock that dies with its process."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from flywheel.config import Home
from flywheel.errors import StoreBusy


@contextmanager
def only_night(home: Home, use_case: str) -> Iterator[None]:
    """Hold the use case's lock.

    Raises:
        StoreBusy: another night of this use case is running.
    """
    home.root.mkdir(parents=True, exist_ok=True)
    with (home.root / f"night-{use_case}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreBusy(
                f"Another night of {use_case} is running in {home.root}; this one did nothing."
            ) from error
        yield
