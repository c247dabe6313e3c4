"""One night at a time, one change of the champion at a time: locks that die with their process.

A night holds two locks: ``night``, which another night does not wait for, and ``settling``, which
it shares with whoever carries out decisions between nights, backs the home up or forgets somebody.
Those take seconds or minutes, so that a night waits for them; they give way to a night.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from flywheel.config import Home
from flywheel.errors import StoreBusy
from flywheel.files import locks
from flywheel.files.waiting_line import Place
from flywheel.modeling.durations import in_words

CHAMPION_WAIT_S = 60.0
SETTLING_WAIT_S = 1_800.0
"""An approval loads a model and asks it a few rows; a night waits for that rather than fail."""
GLANCE_S = 0.5
"""For how long a night is not sure that another is running: who looks takes the lock, too."""
GPU_WAIT_S = 6 * 3_600.0
"""A training ends itself after 6 hours."""
_GPU_RETRY_S = 0.5


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
            home.night_lock(use_case),
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
    with _held(home.night_lock(use_case), wait_s=0, otherwise=running):
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
def gpu_turn(home: Home, *, who: str, wait_s: float = GPU_WAIT_S) -> Iterator[None]:
    """Be the only one that fills this machine's GPU with a model; who came first has it first.

    Two trainings that each fit do not fit together, and the second would fail for want of memory.

    Raises:
        StoreBusy: others had it for longer than ``wait_s``.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    name = re.sub(r"[^A-Za-z0-9.-]", "-", f"{socket.gethostname()}-{visible}")
    path, deadline = home.root / f"gpu-{name}.lock", time.monotonic() + wait_s
    place = Place(home.root, who=who, what="the GPU")
    try:
        while place.ahead() or (fd := locks.take(path)) is None:
            if time.monotonic() >= deadline:
                raise StoreBusy(
                    f"The GPU of {socket.gethostname()} was used by others for {in_words(wait_s)} "
                    "(flywheel ps). The champion is unchanged; try again."
                )
            place.held_by(_signed(path))
            time.sleep(_GPU_RETRY_S)
    finally:
        place.leave()
    try:
        _sign(fd)
        yield
    finally:
        os.close(fd)


def _signed(path: Path) -> int | None:
    """The process that wrote itself into a lock."""
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def _held(path: Path, *, wait_s: float, otherwise: str) -> Iterator[None]:
    with locks.held(path, wait_s=wait_s, busy=StoreBusy(otherwise)) as fd:
        _sign(fd)
        yield


def _sign(fd: int) -> None:
    """Write who holds a lock into it, for `flywheel ps`; a full disk takes nobody the lock."""
    content = json.dumps({"pid": os.getpid(), "since_s": time.time()}).encode()
    with suppress(OSError):
        os.ftruncate(fd, 0)
        os.pwrite(fd, content, 0)
