"""Progress: a bar for people, a line now and then for log files."""

from __future__ import annotations

import time

import pytest
from rich.console import Console

from flywheel import progress


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_without_a_terminal_a_line_comes_once_per_interval(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)

    with progress.bar("scoring") as step:
        for done in range(1, 7):
            clock.now += progress.PLAIN_SECONDS / 2
            step(done, 6)

    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["  scoring: 2 of 6", "  scoring: 4 of 6", "  scoring: 6 of 6"]


def test_on_a_terminal_a_bar_is_drawn(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def terminal(*, stderr: bool) -> Console:
        return Console(stderr=stderr, force_terminal=True)

    monkeypatch.setattr(progress, "Console", terminal)

    with progress.bar("scoring") as step:
        step(3, 6)

    err = capsys.readouterr().err
    assert "scoring" in err
    assert "\x1b[" in err
