"""The machine that the doctor looks at is a made-up one."""

from __future__ import annotations

import pytest

from tests.doctors import machine_with_room


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """A machine whose free GB are what a test says, at first more than enough."""
    return machine_with_room(monkeypatch)
