"""One night at a time, one change of the champion at a time: locks that die with their process.

A night holds two locks: ``night``, which another night does not wait for, and ``settling``, which
it shares with whoever carries out decisions between nights, backs the home up or forgets somebody.
Those take seconds or minutes, so that a night waits for them; they give way to a night.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

from flywheel.config import Home
from flywheel.errors import StoreBusy

log = logging.getLogger(__name__)

CHAMPION_WAIT_S = 60.0
SETTLING_WAIT_S = 1_800.0
"""An approval loads a model and asks it a few rows; a night waits for that rather than fail."""
GLANCE_S = 0.5
"""For how long a night is not sure that another is running: who looks takes the lock, too."""
_RETRY_S = 0.05


@contextmanager
def only_night(
    home: Home,
    use_case: str,
    *,
    settling_wait_s: float = SETTLING_WAIT_S,
    instead: str | None = None,
) -> Iterator[None]:
    """Be the use case's only night; decisions that are being carried out are waited for.

    Whoever is no night, and must not run beside one, says by ``instead`` what was not done.

    Raises:
        StoreBusy: another night of this use case is running, or decisions were being carried out
            for longer than ``settling_wait_s``.
    """
    with (
        _held(
            home.root / f"night-{use_case}.lock",
            wait_s=GLANCE_S,
            otherwise=(
                f"Another night of {use_case} is running in {home.root}; this one did nothing."
                if instead is None
                else _running(home, use_case, instead)
            ),
        ),
        _held(
            _settling(home, use_case),
            wait_s=settling_wait_s,
            otherwise=(
                f"Decisions about {use_case}, a backup or a forgetting were being carried out for "
                f"{settling_wait_s:g} s in {home.root}; nothing was done. Try again."
            ),
        ),
    ):
        yield


@contextmanager
def nights_waiting(
    home: Home, use_case: str, *, instead: str, settling_wait_s: float = SETTLING_WAIT_S
) -> Iterator[None]:
    """Hold nights of the use case off: one that starts meanwhile waits, and is not lost.

    ``instead`` says what was not done where a night is running.

    Raises:
        StoreBusy: a night is running, or decisions were being carried out for longer than
            ``settling_wait_s``.
    """
    running = _running(home, use_case, instead)
    with _held(home.root / f"night-{use_case}.lock", wait_s=0, otherwise=running):
        """None is. One that starts from here on takes this lock, and waits for the next."""
    with _held(
        _settling(home, use_case),
        wait_s=settling_wait_s,
        otherwise=(
            f"Decisions about {use_case}, a backup or a forgetting were being carried out for "
            f"{settling_wait_s:g} s in {home.root}; {instead}. Try again."
        ),
    ):
        yield


def _running(home: Home, use_case: str, instead: str) -> str:
    return (
        f"A night of {use_case} is running in {home.root}; {instead}. Run it again when the night "
        "has ended."
    )


@contextmanager
def between_nights(home: Home, use_case: str) -> Iterator[None]:
    """Be the only one that carries out decisions, while no night is running; never waits.

    Raises:
        StoreBusy: a night is running, or somebody else carries them out.
    """
    with _held(
        _settling(home, use_case),
        wait_s=0,
        otherwise=(
            f"A night of {use_case} is running in {home.root}, or a backup or a forgetting; "
            "nothing was settled."
        ),
    ):
        yield


def _settling(home: Home, use_case: str) -> Path:
    return home.root / f"settling-{use_case}.lock"


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
    deadline, waiting = time.monotonic() + wait_s, False
    while (file := _taken(path)) is None:
        if time.monotonic() >= deadline:
            raise StoreBusy(otherwise)
        if not waiting:
            log.info("waiting for %s, which another process holds", path.name)
        waiting = True
        time.sleep(_RETRY_S)
    with file:
        yield


def _taken(path: Path) -> TextIO | None:
    """The locked file of that name; None where another process holds it.

    A home that is put aside takes its locks along: a lock on such a file would keep nobody out.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as undo:
        file = undo.enter_context(path.open("w"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return None
        except (BlockingIOError, FileNotFoundError):
            return None
        undo.pop_all()
    return file
