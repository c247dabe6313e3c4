"""How many random examples and parameters `make test` tries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import HealthCheck, settings

USUAL = 15
"""What a property is tried on that names no number; as the profile in `tests.conftest`."""


def examples(number: int, *, suppress: Sequence[HealthCheck] = ()) -> settings:
    """``number`` of them in `make test`, and as many times more in `make test-thorough`."""
    times = settings.default.max_examples // USUAL
    return settings(max_examples=number * times, deadline=None, suppress_health_check=suppress)


def usual(every: Iterable[str], *kept: str) -> list[object]:
    """Parameters of which only ``kept`` are tried by `make test`; the rest is slow."""
    return [one if one in kept else pytest.param(one, marks=pytest.mark.slow) for one in every]
