"""Betting on fresh rows: fair where nothing is to be won, whatever one looks at and when."""

from __future__ import annotations

import itertools
import math
import random
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.gate.trial_progress import progress
from flywheel.influence import quorum
from flywheel.records import FreshRow, Trial
from flywheel.stats.e_process import (
    STAKES,
    confidence_sequence,
    group_bets,
    group_gains,
    groups_to_decide,
    log_wealth,
    log_wealth_against,
)

NIGHT = datetime(2026, 1, 1, tzinfo=UTC)
gains = st.lists(st.floats(-1, 1, allow_nan=False), max_size=50)
margins = st.floats(-0.4, 0.4)


def row(
    group: str,
    challenger: bool,
    champion: bool,
    *,
    night: int = 0,
    probability: float | None = None,
) -> FreshRow:
    return FreshRow(
        as_of=NIGHT + timedelta(days=night),
        example_id=f"{group}-{challenger}-{champion}-{night}",
        group_id=group,
        source="gold",
        challenger_right=challenger,
        champion_right=champion,
        probability=probability,
    )


@settings(max_examples=20)
@given(margin=margins)
def test_wealth_starts_at_one(margin: float) -> None:
    assert log_wealth([], margin=margin) == 0.0
    assert log_wealth_against([], margin=margin) == 0.0
    assert confidence_sequence([], alpha=0.05) == pytest.approx((-1, 1), abs=1e-6)


@settings(max_examples=50)
@given(found=gains, margin=margins, seed=st.integers(0, 99))
def test_the_order_of_rows_does_not_matter(found: list[float], margin: float, seed: int) -> None:
    mixed = random.Random(seed).sample(found, len(found))
    assert log_wealth(mixed, margin=margin) == pytest.approx(log_wealth(found, margin=margin))


@settings(max_examples=50)
@given(found=gains, margin=margins)
def test_wealth_is_finite_and_falls_with_the_margin(found: list[float], margin: float) -> None:
    wealth = log_wealth(found, margin=margin)
    assert math.isfinite(wealth)
    assert log_wealth(found, margin=margin + 0.05) <= wealth + 1e-9
    assert log_wealth_against([-gain for gain in found], margin=-margin) == pytest.approx(wealth)


@pytest.mark.parametrize("margin", [0.0, -0.02, 0.1])
@pytest.mark.parametrize(("up", "down"), [(1.0, 1.0), (0.25, 1.0), (1.0, 0.1)])
def test_a_bet_on_nothing_is_exactly_fair(up: float, down: float, margin: float) -> None:
    """Over all outcomes of six groups whose mean gain is the margin, mean wealth is one."""
    outcomes = {up: (down + margin) / (up + down), -down: (up - margin) / (up + down)}
    mean = 0.0
    for path in itertools.product(outcomes, repeat=6):
        chance = math.prod(outcomes[gain] for gain in path)
        mean += chance * math.exp(log_wealth(path, margin=margin))
    assert mean == pytest.approx(1.0)


def test_groups_that_differ_are_fair_when_their_average_is() -> None:
    """One customer always gains what another always loses: together they win nothing."""
    assert log_wealth([0.4, -0.4] * 50) < 0


def test_looking_after_every_group_errs_in_at_most_alpha_of_trials() -> None:
    rng = np.random.default_rng(0)
    trials, rows, alpha = 400, 1_000, 0.05
    found = rng.choice([1, -1, 0], p=[0.075, 0.075, 0.85], size=(trials, rows))
    logs = np.stack([np.log1p(stake * found).cumsum(axis=1) for stake in STAKES])
    wealth = np.exp(logs).mean(axis=0)
    assert np.log(wealth[0, -1]) == pytest.approx(log_wealth(found[0].tolist()))
    erred = (wealth.max(axis=1) >= 1 / alpha).mean()
    assert 0 < erred <= alpha


def test_confidence_sequence_covers_the_gain_at_all_looks_together() -> None:
    rng = np.random.default_rng(1)
    missed = 0
    for _ in range(40):
        found = rng.choice([1.0, -1.0, 0.0], p=[0.1, 0.05, 0.85], size=900).tolist()
        looks = [confidence_sequence(found[:end], alpha=0.1) for end in (100, 300, 900)]
        missed += not all(low <= 0.05 <= high for low, high in looks)
        widths = [high - low for low, high in looks]
        assert widths == sorted(widths, reverse=True)
    assert missed <= 4


@settings(max_examples=25)
@given(found=gains)
def test_confidence_sequence_is_where_the_bets_stop(found: list[float]) -> None:
    low, high = confidence_sequence(found, alpha=0.05)
    assert -1 <= low <= high <= 1
    if low > -0.99:
        assert log_wealth(found, margin=low - 1e-6) >= math.log(40)
        assert log_wealth(found, margin=low + 1e-6) < math.log(40)


def test_groups_to_decide_says_how_far_it_is() -> None:
    found = [1.0] * 12 + [-1.0] * 4 + [0.0] * 84
    more = groups_to_decide(found, alpha=0.01)
    assert more is not None
    repeats = math.ceil(more / len(found))
    assert log_wealth(found * (1 + repeats)) >= math.log(100)
    assert log_wealth(found * max(1, repeats - 2)) < math.log(100)
    assert groups_to_decide([-gain for gain in found], alpha=0.01) is None
    assert groups_to_decide([], alpha=0.01) is None
    assert groups_to_decide([1.0] * 100, alpha=0.01) == 0


def test_a_group_is_one_bet_a_night_however_many_rows_it_has() -> None:
    many = [row("a", True, False)] * 40 + [row("b", False, True)]
    assert sorted(group_gains(many)) == [-1.0, 1.0]
    twice = [row("a", True, False), row("a", False, True, night=1)]
    assert sorted(group_gains(twice)) == [-1.0, 1.0]
    assert group_gains([row("a", True, False), row("a", True, True)]) == [0.5]


def test_rows_drawn_rarely_count_for_those_not_drawn() -> None:
    rows = [row("a", True, False, probability=0.1), row("b", False, True, probability=0.5)]
    assert group_gains(rows) == pytest.approx([1.0, -0.2])
    assert group_gains(rows, weighted=False) == [1.0, -1.0]
    alike = [row("a", True, False, probability=0.1), row("b", False, True, probability=0.1)]
    assert group_gains(alike) == [1.0, -1.0]


def test_an_audit_takes_no_other_row_its_say() -> None:
    """One draw in a hundred beside rows that are always labeled; it took them to a hundredth."""
    labeled = [row(f"g{n}", n % 3 > 0, n % 3 == 0) for n in range(60)]
    audit = row("drawn", False, False, probability=0.01)
    alone, beside = (
        quorum.log_wealth(group_bets(rows), margin=0, quorum=quorum.SHIPPED)
        for rows in (labeled, [*labeled, audit])
    )
    assert beside == pytest.approx(alone)
    assert beside > 2


def test_a_row_of_little_weight_is_held_to_little_of_the_margin() -> None:
    """Draws that are not rare weigh next to nothing, and so they prove nothing by not losing."""
    rare = row("rare", False, True, probability=0.001)
    rows = [rare, *(row(f"g{n}", n % 10 > 0, True, probability=1.0) for n in range(400))]
    bets = group_bets(rows)
    assert quorum.log_wealth(bets, margin=-0.02, quorum=quorum.SHIPPED) < 0
    low, high = confidence_sequence(
        [bet.gain for bet in bets], alpha=0.05, weights=[bet.weight for bet in bets]
    )
    assert low < -0.2 < high


def test_audits_that_speak_against_a_gain_end_a_trial_that_others_won() -> None:
    won = [row(f"g{n}", True, False) for n in range(60)]
    lost = [row(f"a{n}", False, True, probability=0.1) for n in range(12)]
    assert progress(Trial.of(1, 0.01, won)).proven
    found = progress(Trial.of(1, 0.01, [*won, *lost]))
    assert (found.proven, found.refuted) == (False, True)
