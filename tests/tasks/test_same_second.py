"""Nights of several use cases that begin in the same second all end, whoever has the warehouse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flywheel.config import Home
from flywheel.files.waiting_line import waiters
from flywheel.store import open_store
from flywheel.store.nights import night_runs
from tests import nights
from tests.light_nights import LightNights, light_case, log_of


@pytest.fixture
def live() -> Iterator[LightNights]:
    started = LightNights()
    yield started
    started.close()


def live_together(live: LightNights, home: Home, names: list[str]) -> None:
    """A night of each, begun at once; each ends without an error."""
    begun = {name: live.start(home, name, nights.AS_OF) for name in names}
    for name, pid in begun.items():
        assert live.wait(pid) == 0, log_of(home, name)[-6_000:]


@pytest.mark.slow
def test_three_use_cases_at_the_same_second_all_end(tmp_path: Path, live: LightNights) -> None:
    """They share rows and recipe, so that one trains for all of them."""
    home = nights.make_home(tmp_path / "home")
    names = [f"case-{letter}" for letter in "abc"]
    for name in names:
        nights.drop_into(home, light_case(name), nights.first_rows())

    live_together(live, home, names)

    for name in names:
        with open_store(home.warehouse) as store:
            (night,) = night_runs.nights(store, name)
            rows = store.rows(
                "SELECT count(*), count(DISTINCT feedback_id) FROM feedback WHERE use_case = $case",
                {"case": name},
            )
        assert (night.outcome, night.as_of) == ("promoted", nights.AS_OF)
        assert rows == [(len(nights.first_rows()),) * 2]
        assert "StoreBusy" not in log_of(home, name)
    assert waiters(home.root) == []
