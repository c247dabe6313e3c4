"""One customer's corrections take no champion back; those of several do."""

from __future__ import annotations

import pytest

from flywheel.config import Home
from flywheel.store import open_store
from tasks.champion.reconcile import settle
from tasks.curate import unlearned_examples
from tasks.refused_night import watch_refused_night
from tests.champions import champion
from tests.nights import AS_OF, CASE, DAY
from tests.tasks.test_brake import answer, case, home, live, take_in

__all__ = ["home"]


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.parametrize(
    ("customers", "left"), [(("mallory",), "2"), (("a", "b", "c", "d"), "1"), ((), "1")]
)
def test_corrections_of_one_key_take_no_champion_back(
    home: Home, customers: tuple[str, ...], left: str
) -> None:
    """60 of them had: ``brake: rollback``."""
    always = {"wrong": lambda n: ("2",), "customers": customers}
    found = [live(home, night, case(), **always) for night in (2, 3)]  # type: ignore[arg-type]
    assert champion(home) == left
    if left == "2":
        assert found[-1] is not None
        assert (
            "rows of 1 customer; they count for a gain once 3 customers sent rows"
            in found[-1].detail
        )


@pytest.mark.model
def test_a_night_that_refuses_its_feedback_brakes_and_keeps_nothing_of_it(home: Home) -> None:
    """Whoever sends what is unusual had kept the brake off until somebody looked."""
    at = AS_OF + 3 * DAY
    live(home, 2, case())
    before = sorted(home.snapshots.iterdir())
    take_in(home, 3)
    answer(home, unlearned_examples(CASE, home, at=at), wrong=lambda n: ("2",))
    settle.fn(case(), home, at=at)
    found = watch_refused_night.fn(case(), home, at=at)
    assert found is not None
    assert found.detail.startswith("on 24 fresh rows of 2 nights the predecessor, version 1,")
    assert found.detail.endswith("proven, and rolled back")
    assert champion(home) == "1"
    assert sorted(home.snapshots.iterdir()) == before
    with open_store(home.warehouse) as store:
        assert store.waiting(CASE.name) > 0, "the night that somebody let go on takes the rows"
