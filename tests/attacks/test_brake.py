"""One customer's corrections take no champion back; those of several do."""

from __future__ import annotations

import pytest

from flywheel.config import Home
from tests.champions import champion
from tests.test_brake import case, home, live

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
