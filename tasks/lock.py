"""One night at a time, one change of the champion at a time: locks that die with their process."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flywheel.config import Home
from flywheel.errors import StoreBusy

CHAMPION_WAIT_S = 60.0
_RETRY_S = 0.05


@contextmanager
def only_night(home: Home, use_case: str) -> Iterator[None]:
    """Hold the use case's lock.

    Raises:
        StoreBusy: another night of this use case is running.
    """
    with _held(
        home.root / f"night-{use_case}.lock",
        wait_s=0,
        otherwise=f"Another night of {use_case} is running in {home.root}; this one did nothing.",
    ):
        yield


@contextmanager
def moving_champion(
    home: Home, use_case: str, *, wait_s: float = CHAMPION_WAIT_S
) -> Iterator[None]:
    """Be the only one here that moves the use case's champion; held for seconds, never nested.

    A person in MLflow holds no lock: what they do meanwhile is settled afterwards.

    Raises:
        StoreBusy: somebody else held it for longer than ``wait_s``.
    """
    with _held(
        home.root / f"champion-{use_case}.lock",
        wait_s=wait_s,
        otherwise=(
            f"The champion of {use_case} was being moved by somebody else for {wait_s:g} s. "
            "Nothing was moved; try again."
        ),
    ):
        yield


@contextmanager
def _held(path: Path, *, wait_s: float, otherwise: str) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_s
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    raise StoreBusy(otherwise) from error
                time.sleep(_RETRY_S)
        yield
