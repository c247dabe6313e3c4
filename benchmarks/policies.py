"""Gates that decide night after night: ours, its alternatives, and those that others ship.

Each plays all nights of all lives of a world. What ours decides comes from
`flywheel.stats.alpha_budget` and from wealth over `flywheel.stats.e_process.STAKES`;
`tests/test_gate_lives.py` shows that the arrays here give what the shipped functions give, and that
every night decides as `flywheel.gate.decision.decide`. The rules that can only refuse are left out:
the budget holds whatever is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from benchmarks.lives import Bools, Floats, Nights, World
from flywheel.config import GateConfig
from flywheel.stats import alpha_budget
from flywheel.stats.e_process import STAKES
from flywheel.stats.paired_tests import LEAST

SHIPPED = GateConfig(min_accuracy=0.0)
ALPHA = SHIPPED.alpha
FLOOR = 0.8
"""The absolute floor, 5 points under the first champion."""
TOLERANCE, NOISE = 0.04, 0.01
"""Thresholdout's, as in the experiments of Dwork et al. 2015 (Science 349:636-638)."""
RENEWAL = 32
"""Questions for which ease.ml/ci keeps a test set, as in Renggli et al. 2019."""
Policy = Callable[[World, int], Nights]
Spending = Callable[[NDArray[np.int64]], Floats]


@dataclass(frozen=True)
class Rules:
    """Ours, with what could have been chosen otherwise."""

    alpha: float = ALPHA
    holdout_share: float = SHIPPED.holdout_share
    max_trial_nights: int = SHIPPED.max_trial_nights
    restart_growth: float = SHIPPED.restart_growth
    stakes: tuple[float, ...] = STAKES
    spending: Spending | None = None
    """Share of the trials' budget by number, other than the ledger's."""
    hands_on: bool = True
    """Whether what a lost trial has left goes to the next."""
    abandon_alpha: float = 0.05
    tells_trials: bool = True
    """Whether verdicts on trials count as told."""


def flywheel(world: World, nights: int, rules: Rules = Rules()) -> Nights:
    """A newest challenger and a question to the holdout every night; beside them one trial."""
    lives = world.lives
    number, told, trials, age = (np.zeros(lives, np.int64) for _ in range(4))
    carried, level, began = np.zeros(lives), np.ones(lives), np.zeros(lives)
    on = np.zeros(lives, bool)
    values = world.values()
    bets = np.log1p(np.outer(values, rules.stakes))
    logs, against = (np.zeros((lives, len(rules.stakes))) for _ in range(2))
    total = np.zeros(lives)
    holdout_budget = rules.alpha * rules.holdout_share
    groups = world.setting.fresh_groups
    for night in range(1, nights + 1):
        world.begin()
        train = world.setting.train + world.setting.grows * night
        counts = world.fresh() * on[:, None]
        logs += counts @ bets
        against += counts[:, ::-1] @ bets
        total += counts @ values
        age += on
        stood = on.copy()
        wealth = log_mean(logs)
        won, lost = on_trial(wealth, log_mean(against), age, level, rules)
        won, lost = won & on, lost & on
        left = handed_on(level, wealth) if rules.hands_on else np.where(won, level, 0.0)
        world.promote_tried(won)

        asks = ~won
        world.train(np.ones(lives, bool))
        number += asks
        ours, theirs = world.holdout()
        alphas = question_alphas(number, told, holdout_budget)
        passed, waits = on_holdout(ours - theirs, world.setting.holdout_group_size, alphas)
        passed, waits = passed & asks, waits & asks
        world.promote(passed)
        world.publish(asks)
        grown = train >= began * (1 + rules.restart_growth)
        slow = ~on_pace(wealth, logs, total, age, level, groups, rules)
        over = on & (won | lost | passed | (waits & grown & slow))
        carried = np.where(over, left, carried)
        on = on & ~over
        begins = waits & ~on
        world.try_newest(begins)
        trials += begins
        level = np.where(begins, trial_levels(trials, carried, rules), level)
        carried = np.where(begins, 0.0, carried)
        began = np.where(begins, train, began)
        for array in (age, logs, against, total):
            array[begins] = 0
        on |= begins
        told += 1 + (stood if rules.tells_trials else 0)
    return world.end()


def on_pace(
    wealth: Floats,
    logs: Floats,
    total: Floats,
    age: NDArray[np.int64],
    level: Floats,
    groups: int,
    rules: Rules,
) -> Bools:
    """`flywheel.gate.trial_length.on_pace` of every life: ``groups`` bets a night, margin 0.

    ``logs`` are the wealth of each stake, ``total`` is the sum of all gains.
    """
    seen = np.maximum(1, age * groups)
    missing = -np.log(level) - wealth
    growth = (logs / seen[:, None]).max(axis=1)
    further = np.ceil(missing / np.where(growth > 0, growth, np.inf))
    grows = (total > 0) & (growth > 0)
    there = missing <= 0
    in_time = further <= (rules.max_trial_nights - age) * groups
    return (age > 0) & (there | (grows & in_time))


def on_holdout(gains: Floats, size: int, alphas: Floats) -> tuple[Bools, Bools]:
    """Who passes the holdout by ``gains`` (lives, groups of ``size`` rows), and who goes on trial.

    Neither: rejected, because it is not ahead. The margin is 0.
    """
    ahead = gains.sum(axis=1) > 0
    passed = ahead & (holdout_p_value(gains, size) <= alphas)
    return passed, ahead & ~passed


def on_trial(
    wealth: Floats, against: Floats, age: NDArray[np.int64], level: Floats, rules: Rules
) -> tuple[Bools, Bools]:
    """Whose trials are won and whose are lost, by the logarithms of wealth for and against."""
    won = wealth >= -np.log(level)
    worse = against >= -math.log(rules.abandon_alpha)
    return won, ~won & (worse | (age >= rules.max_trial_nights))


def log_mean(logs: Floats) -> Floats:
    """Logarithm of the mean over stakes of wealth given as logarithms, (lives, stakes)."""
    top = logs.max(axis=1)
    return top + np.log(np.exp(logs - top[:, None]).mean(axis=1))


@cache
def _question_alpha(number: int, told: int, budget: float) -> float:
    return alpha_budget.question_alpha(number, told, budget=budget)


def question_alphas(number: NDArray[np.int64], told: NDArray[np.int64], budget: float) -> Floats:
    """`flywheel.stats.alpha_budget.question_alpha` of every life."""
    pairs = zip(number.tolist(), told.tolist(), strict=True)
    return np.array([_question_alpha(n, t, budget) if n else 0.0 for n, t in pairs])


def trial_levels(trials: NDArray[np.int64], carried: Floats, rules: Rules) -> Floats:
    """`flywheel.stats.alpha_budget.trial_alpha` of every life, or of another way of spending."""
    budget = rules.alpha * (1 - rules.holdout_share)
    number = np.maximum(trials, 1)
    if rules.spending is not None:
        return carried + budget * rules.spending(number)
    return np.array(
        [
            alpha_budget.trial_alpha(n, carried=c, budget=budget)
            for n, c in zip(number.tolist(), carried.tolist(), strict=True)
        ]
    )


def handed_on(level: Floats, wealth: Floats) -> Floats:
    """`flywheel.stats.alpha_budget.handed_on` of every life."""
    return level * np.exp(np.minimum(0.0, wealth))


def holdout_p_value(gains: Floats, size: int) -> Floats:
    """`flywheel.stats.paired_tests.excess_p_value` of every life; margin 0."""
    if size == 1:
        return row_p_value((gains > 0).sum(axis=1), (gains < 0).sum(axis=1))
    counts = np.stack([(gains == value).sum(axis=1) for value in range(-size, size + 1)], axis=1)
    bets = np.log1p(np.outer(np.arange(-size, size + 1) / size, STAKES))
    return np.maximum(LEAST, np.exp(-np.maximum(0.0, log_mean(counts @ bets))))


def row_p_value(wins: NDArray[np.int64], losses: NDArray[np.int64]) -> Floats:
    """`flywheel.stats.paired_tests.paired_p_value` of every life."""
    found = binom.sf(wins - 1, wins + losses, 0.5)
    return np.maximum(LEAST, found)


# ---- What others ship


def _nightly(
    world: World, nights: int, decide: Callable[[World], Bools], *, publish: bool = True
) -> Nights:
    every = np.ones(world.lives, bool)
    for _ in range(nights):
        world.begin()
        world.train(every)
        if publish:
            world.publish(every)
        world.promote(decide(world))
    return world.end()


def point_estimate(world: World, nights: int) -> Nights:
    """At least as many right on the same holdout as the champion: margin 0, ties promote."""

    def decide(world: World) -> Bools:
        ours, theirs = world.holdout()
        return np.asarray(ours.sum(axis=1) >= theirs.sum(axis=1))

    return _nightly(world, nights, decide)


def absolute_floor(world: World, nights: int) -> Nights:
    """Right on at least a fixed share of the holdout, whatever the champion is."""

    def decide(world: World) -> Bools:
        ours, _ = world.holdout()
        rows = world.setting.holdout_groups * world.setting.holdout_group_size
        return np.asarray(ours.sum(axis=1) >= FLOOR * rows)

    return _nightly(world, nights, decide)


def stored_score(world: World, nights: int) -> Nights:
    """Better on tonight's rows than the champion was on the rows of its own night."""
    stored = world.score()

    def decide(world: World) -> Bools:
        nonlocal stored
        score = world.score()
        better = score > stored
        stored = np.where(better, score, stored)
        return better

    return _nightly(world, nights, decide)


def nightly_test(world: World, nights: int) -> Nights:
    """McNemar's exact test at 5 % every night on the same holdout."""

    def decide(world: World) -> Bools:
        ours, theirs = world.holdout()
        gains = ours - theirs
        wins = np.maximum(gains, 0).sum(axis=1)
        return row_p_value(wins, np.maximum(-gains, 0).sum(axis=1)) <= ALPHA

    return _nightly(world, nights, decide)


def thresholdout(world: World, nights: int) -> Nights:
    """The reusable holdout: a gain over its tolerance, as it answers (Dwork et al. 2015).

    The other set that it needs is as large as the holdout and drawn anew every night. Only its
    answers are published.
    """
    lives, rng = world.lives, world.rng
    rows = world.setting.holdout_groups * world.setting.holdout_group_size
    threshold = TOLERANCE + rng.laplace(0, 2 * NOISE, lives)

    def decide(world: World) -> Bools:
        nonlocal threshold
        ours, theirs = world.holdout()
        holdout = (ours - theirs).sum(axis=1) / rows
        other = world.gains(rows, 0.0)
        over = np.abs(other - holdout) > threshold + rng.laplace(0, 4 * NOISE, lives)
        answer = np.where(over, holdout + rng.laplace(0, NOISE, lives), other)
        threshold = np.where(over, TOLERANCE + rng.laplace(0, 2 * NOISE, lives), threshold)
        world.publish(np.ones(lives, bool), answer * rows)
        return np.asarray(answer > TOLERANCE)

    return _nightly(world, nights, decide, publish=False)


def ease_ml_ci(world: World, nights: int) -> Nights:
    """ "new - old > 0", free of false positives, fully adaptive (Renggli et al. 2019).

    A test set serves 32 nights at (alpha / sets) / 2**32; the next is made of the fresh rows of
    those nights. The first is the holdout. Its tolerance is Bernstein's bound for models that
    differ on the setting's share of rows. Later sets are drawn anew at every question, which
    favours it.
    """
    setting = world.setting
    sets = math.ceil(nights / RENEWAL)
    bits = math.log(sets / ALPHA) + RENEWAL * math.log(2)

    def decide(world: World) -> Bools:
        first = world.night <= RENEWAL
        if first:
            rows = setting.holdout_groups * setting.holdout_group_size
            ours, theirs = world.holdout()
            gain = (ours - theirs).sum(axis=1) / rows
        else:
            rows = RENEWAL * setting.fresh_groups * setting.fresh_group_size
            gain = world.gains(rows, setting.rater_error)
        spread = math.sqrt(2 * setting.disagreement * bits / rows) + bits / (3 * rows)
        return np.asarray(gain > spread)

    return _nightly(world, nights, decide)


POLICIES: dict[str, Policy] = {
    "flywheel": flywheel,
    "point_estimate": point_estimate,
    "absolute_floor": absolute_floor,
    "stored_score": stored_score,
    "nightly_test": nightly_test,
    "thresholdout": thresholdout,
    "ease_ml_ci": ease_ml_ci,
}
