"""One Prefect server and one process of imported libraries for all roads of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import nights
from tests.journeys.road import Road, first_night


@pytest.fixture
def begin(tmp_path: Path) -> Callable[[str], Road]:
    """Begin a road: an empty folder of a company, with no home yet."""

    def road(name: str) -> Road:
        return Road(tmp_path / name, nights.prefect_server(), name, first_night())

    return road
