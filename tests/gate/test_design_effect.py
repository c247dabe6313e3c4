"""`gate.unit: row`: rows of a group are bets of their own only once they have shown to be."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from flywheel.records import FreshRow
from flywheel.stats import design_effect
from flywheel.stats.e_process import group_bets, widened

NIGHT = datetime(2026, 1, 1, tzinfo=UTC)


def nights(number: int, *, size: int, together: float, groups: int = 300) -> list[FreshRow]:
    """Equal contenders that differ on three rows in twenty; a share of groups goes all alike."""
    rng = np.random.default_rng(0)
    fates = rng.choice([1, -1, 0], p=[0.075, 0.075, 0.85], size=(number, groups // size, size))
    alike = rng.random((number, groups // size, 1)) < together
    fates = np.where(alike, fates[:, :, :1], fates)
    return [
        FreshRow(
            NIGHT + timedelta(days=n),
            f"{n}-{g}-{i}",
            f"g{g}",
            "app",
            bool(fate > 0),
            bool(fate < 0),
        )
        for (n, g, i), fate in np.ndenumerate(fates.astype(int))
    ]


def test_rows_that_go_their_own_ways_are_bets_once_nights_have_shown_it() -> None:
    rows = nights(8, size=4, together=0)
    bets = group_bets(rows, by_row=True)
    apart = 8 - widened(rows)
    assert apart >= 5
    assert len(bets) == apart * 300 + (8 - apart) * 75


@pytest.mark.parametrize(("size", "together"), [(12, 0.3), (12, 0.1), (3, 0.9)])
def test_rows_that_go_together_stay_one_bet(size: int, together: float) -> None:
    rows = nights(14, size=size, together=together)
    assert design_effect.upper_bound(rows) > design_effect.MOST
    assert group_bets(rows, by_row=True) == group_bets(rows)


def test_groups_of_one_row_have_no_design_effect() -> None:
    rows = nights(1, size=1, together=1)
    assert design_effect.upper_bound(rows) == 1
    assert widened(rows) == 0


def test_without_rows_that_tell_the_contenders_apart_nothing_is_shown() -> None:
    assert design_effect.upper_bound([]) == math.inf
    few = nights(1, size=12, together=0, groups=24)
    assert not design_effect.near_one(few)
