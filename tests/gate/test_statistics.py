"""Evidence on the holdout is never surer than it may be: at any level, for groups of any shape."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.stats.alpha_budget import Told, question_alpha
from flywheel.stats.paired_tests import (
    LEAST,
    excess_p_value,
    labels_to_decide,
    paired_p_value,
    sign_flip_p_value,
    upper_z,
)

counts = st.integers(0, 60)
groups = st.lists(
    st.integers(1, 5).flatmap(lambda rows: st.tuples(st.integers(-rows, rows), st.just(rows))),
    max_size=60,
)


@settings(max_examples=50)
@given(wins=counts, losses=counts, ties=counts)
def test_with_groups_of_one_row_both_tests_are_mcnemars(wins: int, losses: int, ties: int) -> None:
    gains = [1] * wins + [-1] * losses + [0] * ties
    plain = paired_p_value(wins, losses)
    assert sign_flip_p_value(gains) == pytest.approx(plain, rel=1e-9)
    assert excess_p_value(gains, [1] * len(gains), margin=0) == plain


@given(st.lists(st.integers(-4, 4), max_size=9))
def test_sign_flip_is_the_share_of_all_flips_that_gain_as_much(gains: list[int]) -> None:
    flips = itertools.product((1, -1), repeat=len(gains))
    totals = [sum(sign * abs(gain) for sign, gain in zip(f, gains, strict=True)) for f in flips]
    share = sum(total >= sum(gains) for total in totals) / len(totals)
    assert sign_flip_p_value(gains) == pytest.approx(share)


@settings(max_examples=30)
@given(found=groups, seed=st.integers(0, 99), margin=st.sampled_from([-0.02, 0.0, 0.05]))
def test_the_order_of_groups_does_not_matter(
    found: list[tuple[int, int]], seed: int, margin: float
) -> None:
    mixed = random.Random(seed).sample(found, len(found))
    one, other = (
        excess_p_value([g for g, _ in some], [r for _, r in some], margin=margin)
        for some in (found, mixed)
    )
    assert one == pytest.approx(other, rel=1e-9)


@settings(max_examples=30)
@given(found=groups)
def test_a_greater_margin_is_harder_to_show(found: list[tuple[int, int]]) -> None:
    gains, rows = [g for g, _ in found], [r for _, r in found]
    values = [excess_p_value(gains, rows, margin=m) for m in (-0.1, -0.01, 0.01, 0.1)]
    assert values == sorted(values)
    assert all(LEAST <= value <= 1 for value in values)


def test_a_few_large_losses_among_many_small_wins_are_not_overlooked() -> None:
    """Ten groups win one of ten rows for each that loses all: exchanging signs calls that better.

    So would a test that chose its form by the gains: where no large loss was seen all are alike.
    """
    rng = np.random.default_rng(0)
    level, lives = 1e-5, 200
    fooled = honest = 0
    for _ in range(lives):
        gains = rng.choice([1, -1, 0], p=[0.15 * 10 / 11, 0.15 / 11, 0.85], size=200)
        gains[gains < 0] = -10
        shares = [int(g) for g in gains]
        fooled += sign_flip_p_value(shares) <= level
        honest += excess_p_value(shares, [10] * len(shares), margin=0) <= level
    assert fooled > 0.03 * lives
    assert honest == 0


def test_agreeing_on_every_row_does_not_prove_a_negative_margin_at_any_level() -> None:
    """One that is worse on 2 % of rows is seen to lose none of 500 with chance 0.98**500."""
    assert excess_p_value([0] * 500, [1] * 500, margin=-0.02) >= 0.98**500


@pytest.mark.parametrize("margin", [-0.03, 0.02])
def test_under_a_margin_errors_stay_within_the_level(margin: float) -> None:
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(300):
        won = 0.075 + margin / 2
        gains = rng.choice([1, -1, 0], p=[won, 0.15 - won, 0.85], size=300).tolist()
        wrong += excess_p_value(gains, [1] * 300, margin=margin) <= 0.05
    assert wrong <= 0.05 * 300


@pytest.mark.parametrize("wins", [900, 1_200])
def test_no_p_value_is_zero_so_that_a_spent_budget_passes_nothing(wins: int) -> None:
    spent = question_alpha(600, Told(moved=(True,) * 600).chance, budget=0.05)
    assert spent == 0.0
    assert paired_p_value(wins, 0) > spent
    assert sign_flip_p_value([1] * wins) > spent
    assert excess_p_value([2] * wins, [2] * wins, margin=0.01) > spent


@pytest.mark.parametrize("alpha", [0.05, 1e-12, 1e-17, 1e-200, 0.0])
def test_levels_too_small_for_one_minus_alpha_still_have_a_quantile(alpha: float) -> None:
    assert upper_z(alpha) > 1.6
    assert labels_to_decide(20, 10, 300, alpha=alpha) is not None
