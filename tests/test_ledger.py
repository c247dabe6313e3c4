"""The error budget of a life is never overdrawn, whatever happens in it."""

from __future__ import annotations

import itertools
import math
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.stats.alpha_budget import (
    VERDICTS,
    handed_on,
    question_alpha,
    rows_for,
    trial_alpha,
    visible_gain,
)
from flywheel.stats.e_process import log_wealth

BUDGET = 0.025


@given(st.lists(st.integers(1, 8), min_size=1, max_size=40), st.integers(0, 5))
def test_questions_of_all_transcripts_together_stay_within_the_budget(
    verdicts: list[int], before: int
) -> None:
    """``verdicts``: how many are told from one question to the next, the question's included."""
    total, told = 0.0, before
    for number, more in enumerate(verdicts, start=1):
        transcripts = float(VERDICTS) ** told
        total += transcripts * question_alpha(number, told, budget=BUDGET)
        told += more
    assert total <= BUDGET


def test_trials_that_all_fail_stay_within_the_budget() -> None:
    last = 100_000
    spent = math.fsum(trial_alpha(n, carried=0.0, budget=BUDGET) for n in range(1, last + 1))
    rest = 2 * last**1.5 * trial_alpha(last, carried=0.0, budget=BUDGET) / math.sqrt(last)
    assert spent < BUDGET
    assert spent + rest == pytest.approx(BUDGET, rel=1e-5)


@given(st.lists(st.floats(-20, 20), max_size=50))
def test_what_trials_lose_and_leave_is_never_more_than_the_budget(ends: list[float]) -> None:
    """``ends``: the log wealth with which each trial ended, won or lost."""
    lost = carried = 0.0
    for number, end in enumerate(ends, start=1):
        level = trial_alpha(number, carried=carried, budget=BUDGET)
        carried = handed_on(level, end)
        assert 0 <= carried <= level
        lost += level - carried
    assert lost + carried <= BUDGET


def test_a_trial_that_was_won_hands_on_all_it_had() -> None:
    assert handed_on(0.01, math.log(100)) == 0.01
    assert handed_on(0.01, 0.0) == 0.01
    assert handed_on(0.01, math.log(0.25)) == pytest.approx(0.0025)


@pytest.mark.parametrize("give_up_under", [0.0, 0.6, 0.95])
def test_ever_erring_in_a_chain_of_trials_is_no_likelier_than_the_budget(
    give_up_under: float,
) -> None:
    """Exactly, over all outcomes of trials of up to four coin flips, wherever one gives up."""
    budget = 0.9

    @cache
    def wealth(path: tuple[int, ...]) -> float:
        return log_wealth(path)

    def erring(number: int, carried: float) -> float:
        if number > 3:
            return 0.0
        level = trial_alpha(number, carried=carried, budget=budget)
        ends: dict[tuple[int, ...], bool] = {}
        for flips in itertools.product((1, -1), repeat=4):
            for count in range(1, 5):
                path = flips[:count]
                won = wealth(path) >= -math.log(level)
                if won or count == 4 or wealth(path) < math.log(max(give_up_under, 1e-9)):
                    ends[path] = won
                    break
        return math.fsum(
            0.5 ** len(path) * (1.0 if won else erring(number + 1, handed_on(level, wealth(path))))
            for path, won in ends.items()
        )

    assert 0.05 < erring(1, 0.0) <= budget


def test_a_budget_that_is_spent_is_zero_and_raises_nothing() -> None:
    assert question_alpha(2_000, 5_000, budget=BUDGET) == 0.0
    assert 0 < visible_gain(0.0, 500, disagreement=0.15) <= 1
    assert rows_for(0.05, 0.0, disagreement=0.15) > rows_for(0.05, 1e-9, disagreement=0.15)


@given(alpha=st.floats(1e-30, 0.4), rows=st.integers(1, 100_000), disagreement=st.floats(0.01, 1))
def test_rows_for_is_how_many_it_takes_to_see_a_gain(
    alpha: float, rows: int, disagreement: float
) -> None:
    gain = visible_gain(alpha, rows, disagreement=disagreement)
    assert 0 < gain <= 1
    if gain < 1:
        assert rows_for(gain, alpha, disagreement=disagreement) == pytest.approx(rows, abs=1)
    assert visible_gain(alpha, 2 * rows, disagreement=disagreement) <= gain
    assert visible_gain(alpha, 0, disagreement=disagreement) == 1.0
