"""Who waits for whom: a night for a settling, a settling for nobody, a night for no other night."""

from __future__ import annotations

import fcntl
import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest

from flywheel.config import Home
from flywheel.errors import StoreBusy
from tasks.coordination.locks import between_nights, nights_waiting, only_night

NAME = "reviews"
BACKUP = partial(nights_waiting, instead="nothing was backed up")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.mark.parametrize("at_work", [between_nights, BACKUP], ids=["poll", "backup"])
def test_a_night_that_starts_beside_other_work_waits_for_it(
    at_work: Callable[..., AbstractContextManager[None]],
    home: Home,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "flywheel.files.locks")
    working, order = threading.Event(), []

    def work() -> None:
        with at_work(home, NAME):
            working.set()
            while not any("waiting for settling" in line for line in caplog.messages):
                time.sleep(0.01)
            order.append("work")

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert working.wait(10)
    with only_night(home, NAME, settling_wait_s=30):
        order.append("night")
    assert order == ["work", "night"]


def test_a_backup_gives_way_to_a_night(home: Home) -> None:
    with (
        only_night(home, NAME),
        pytest.raises(StoreBusy, match=r"is running in .*; nothing was backed up\. Run it again"),
        BACKUP(home, NAME),
    ):
        pass


def test_the_poll_gives_way_to_a_night(home: Home) -> None:
    with (
        only_night(home, NAME),
        pytest.raises(StoreBusy, match=f"A night of {NAME} is running"),
        between_nights(home, NAME),
    ):
        pass


def test_two_nights_never_overlap_and_the_second_says_so_in_one_sentence(home: Home) -> None:
    with (
        only_night(home, NAME),
        pytest.raises(StoreBusy) as refused,
        only_night(home, NAME),
    ):
        pass
    assert str(refused.value) == (
        f"Another night of {NAME} is running in {home.root}; this one did nothing."
    )


def test_a_poll_that_never_ends_is_not_waited_for_for_ever(home: Home) -> None:
    with (
        between_nights(home, NAME),
        pytest.raises(StoreBusy, match="were being carried out for 0 s"),
        only_night(home, NAME, settling_wait_s=0),
    ):
        pass
    with between_nights(home, NAME):
        """The refused night let go of what it held."""
    with only_night(home, NAME):
        """So does this one."""


def test_use_cases_do_not_wait_for_each_other(home: Home) -> None:
    with only_night(home, NAME), only_night(home, "tickets"), between_nights(home, "calls"):
        """All three at once."""


def test_a_night_is_not_lost_to_somebody_who_looks_whether_one_runs(home: Home) -> None:
    path = home.root / f"night-{NAME}.lock"
    with path.open("w") as looked:
        fcntl.flock(looked, fcntl.LOCK_EX)
        timer = threading.Timer(0.1, lambda: fcntl.flock(looked, fcntl.LOCK_UN))
        timer.start()
        with only_night(home, NAME):
            pass
        timer.join()
