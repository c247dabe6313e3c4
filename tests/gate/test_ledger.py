"""The error budget of a life is never overdrawn, whatever happens in it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.influence.quorum import SHIPPED, log_levels
from flywheel.stats.alpha_budget import (
    Told,
    handed_on,
    question_alpha,
    question_share,
    rows_for,
    trial_alpha,
    unspent,
    visible_gain,
)
from flywheel.stats.e_process import Bet, groups_to_decide, log_wealth

BUDGET = 0.025


def series(verdicts: int, beside: int) -> Iterator[Told]:
    """Everything that so many verdicts and trials beside them can tell.

    A verdict that moved something is one of two, so that it comes twice.
    """
    for moved in itertools.product((False, True, True), repeat=verdicts):
        for refuted in itertools.product((False, True), repeat=beside):
            yield Told(moved, refuted)


@pytest.mark.parametrize(("verdicts", "beside"), [(1, 0), (6, 0), (5, 4)])
def test_the_chances_of_everything_that_can_be_told_add_up_to_one(
    verdicts: int, beside: int
) -> None:
    chances = [told.chance for told in series(verdicts, beside)]
    assert math.fsum(chances) == pytest.approx(1)
    assert min(chances) > 0


@given(st.lists(st.integers(0, 2), min_size=1, max_size=6), st.integers(0, 8))
def test_questions_after_all_that_can_be_told_stay_within_the_budget(
    beside: list[int], before: int
) -> None:
    """``beside``: how many trials' stands are told from one question to the next.

    ``before`` questions were asked by 0.1.0, which gave each half of what was left.
    """
    shares = [2.0**-number for number in range(1, before + 1)]
    spent, stands = BUDGET * math.fsum(shares), 0
    for place, more in enumerate(beside, start=1):
        number, left = before + place, unspent(shares)
        levels = [
            question_alpha(number, told.chance, budget=BUDGET, left=left)
            for told in series(place - 1, min(stands, 4))
        ]
        spent += math.fsum(levels)
        shares.append(question_share(number, left))
        stands += more
    assert spent <= BUDGET * (1 + 1e-9)


def test_quiet_nights_cost_next_to_nothing_and_others_a_factor() -> None:
    quiet = Told(moved=(False,) * 1_000, refuted=(False,) * 1_000)
    assert quiet.chance > 1 / 12
    once = Told(moved=(False,) * 20 + (True,))
    assert once.chance == pytest.approx(Told(moved=(False,) * 20).chance / (21 * 22) / 2)
    # beside them the n-th question takes one part in n (n + 1)
    assert question_alpha(10, 1.0, budget=BUDGET) == pytest.approx(BUDGET / 110)


def test_what_is_left_after_questions_that_took_their_share_is_what_the_next_takes_of() -> None:
    shares: list[float | None] = []
    for number in range(1, 20):
        assert unspent(shares) == pytest.approx(1 / number)
        shares += [question_share(number, unspent(shares)), None]


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


@pytest.mark.parametrize("late", [False, True])
def test_levels_that_are_bet_together_reach_one_no_oftener_than_they_add_up_to(
    late: bool,
) -> None:
    """Exactly, over all coin flips of six nights, each with a level and a challenger of its own.

    Where ``late``, the first three challengers are worse than coins.
    """
    levels = [0.3, 0.2, 0.1, 0.1, 0.05, 0.05]
    right = [0.3 if late and night < 3 else 0.5 for night in range(6)]
    erred = 0.0
    for flips in itertools.product((1.0, -1.0), repeat=6):
        chance = math.prod(p if flip > 0 else 1 - p for flip, p in zip(flips, right, strict=True))
        parts = [(level, [Bet(flip)]) for level, flip in zip(levels, flips, strict=True)]
        become = [log_levels(parts[:n], margin=0, quorum=SHIPPED)[0] for n in range(1, 7)]
        erred += chance * (max(become) >= 0)
    assert (0.01 if late else 0.2) < erred <= sum(levels)


def test_a_budget_that_is_spent_is_zero_and_raises_nothing() -> None:
    assert question_alpha(2_000, Told(moved=(True,) * 5_000).chance, budget=BUDGET) == 0.0
    assert groups_to_decide([0.5] * 40, alpha=0.0) is None
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
