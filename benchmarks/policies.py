"""Gates that decide night after night: ours, its alternatives, and those that others ship.

Each plays all nights of all lives of a world. What ours decides comes from
`flywheel.stats.alpha_budget` and from wealth over `flywheel.stats.e_process.STAKES`;
`tests/gate/test_gate_lives.py` shows that the arrays here give what the shipped functions give, and
that every night decides as `flywheel.gate.decision.decide`. The rules that can only refuse are left
out: the budget holds whatever is refused.
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
from flywheel.gate.trial_progress import OWN
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
    """Whether what lost trials have left goes to the next."""
    adds_up: bool = True
    """Whether the levels of all trials against one champion are bet on together."""
    abandon_alpha: float = 0.05
    tells_trials: bool = True
    """Whether verdicts on trials count as told."""


def flywheel(world: World, nights: int, rules: Rules = Rules()) -> Nights:
    """A newest challenger and a question to the holdout every night; beside them one trial."""
    lives = world.lives
    number, trials, age = (np.zeros(lives, np.int64) for _ in range(3))
    told = Told(lives)
    carried, began = np.zeros(lives), np.zeros(lives)
    on = np.zeros(lives, bool)
    values = world.values()
    bets = np.log1p(np.outer(values, rules.stakes))
    own, against = (np.zeros((lives, len(rules.stakes))) for _ in range(2))
    levels = Levels(lives, rules)
    holdout_budget = rules.alpha * rules.holdout_share
    for night in range(1, nights + 1):
        world.begin()
        train = world.setting.train + world.setting.grows * night
        counts = world.fresh() * on[:, None]
        own += counts @ bets
        against += counts[:, ::-1] @ bets
        levels.bet(counts @ bets)
        age += on
        stood = on.copy()
        won, lost, refuted = on_trial(levels.become, log_mean(own), log_mean(against), age, rules)
        won, lost, refuted = won & on, lost & on, refuted & on
        world.promote_tried(won)

        asks = ~won
        world.train(np.ones(lives, bool))
        number += asks
        ours, theirs = world.holdout()
        alphas = question_alphas(number, told.chance, holdout_budget)
        passed, waits = on_holdout(
            ours - theirs, world.picks(), alphas, world.setting.holdout_group_size
        )
        passed, waits = passed & asks, waits & asks
        world.promote(passed)
        world.publish(asks)
        grown = train >= began * (1 + rules.restart_growth)
        speaks = log_mean(own) >= OWN
        over = on & (won | lost | passed | (waits & (grown | ~speaks)))
        decides = on & ~won & ~grown
        ends = won | passed | (over if not rules.adds_up else False)
        carried = np.where(ends, levels.left(won), carried)
        levels.end(ends)
        on = on & ~over
        begins = waits & ~on
        world.try_newest(begins)
        trials += begins
        levels.begin(begins, np.where(begins, trial_levels(trials, carried, rules), 0.0))
        carried = np.where(begins, 0.0, carried)
        began = np.where(begins, train, began)
        for array in (age, own, against):
            array[begins] = 0
        on |= begins
        told.verdicts(won | passed | (asks & ~passed & ~waits))
        if rules.tells_trials:
            told.trials(stood, refuted & ~passed & ~won, decides, speaks)
    return world.end()


class Levels:
    """What the levels that are bet on together have become, (lives, stakes), as logarithms."""

    def __init__(self, lives: int, rules: Rules) -> None:
        self._rules = rules
        self._logs = np.full((lives, len(rules.stakes)), -np.inf)
        self._granted = np.zeros(lives)

    @property
    def become(self) -> Floats:
        """The logarithm of what they have become together; -inf without any."""
        top = np.maximum(self._logs.max(axis=1), -1e300)
        with np.errstate(divide="ignore"):
            return np.asarray(top + np.log(np.exp(self._logs - top[:, None]).sum(axis=1)))

    def bet(self, logs: Floats) -> None:
        self._logs = self._logs + logs

    def begin(self, who: Bools, level: Floats) -> None:
        """A further level comes in, split among the stakes."""
        with np.errstate(divide="ignore"):
            share = np.log(np.where(who, level, 0.0) / len(self._rules.stakes))
        self._logs = np.logaddexp(self._logs, share[:, None])
        self._granted = self._granted + np.where(who, level, 0.0)

    def left(self, won: Bools) -> Floats:
        """`flywheel.stats.alpha_budget.handed_on` of every life."""
        kept = np.exp(np.minimum(self.become, 0.0)) if self._rules.hands_on else 0.0
        return np.where(won, self._granted, np.minimum(self._granted, kept))

    def end(self, who: Bools) -> None:
        self._logs[who] = -np.inf
        self._granted = np.where(who, 0.0, self._granted)


class Told:
    """`flywheel.stats.alpha_budget.Told` of every life, as its chance so far."""

    def __init__(self, lives: int) -> None:
        self.chance = np.ones(lives)
        self._quiet = np.zeros((3, lives), np.int64)

    def verdicts(self, moved: Bools) -> None:
        """Tonight's verdict was told in every life."""
        self._tell(0, moved, np.ones_like(moved), kinds=2)

    def trials(self, stood: Bools, refuted: Bools, decides: Bools, kept: Bools) -> None:
        """In the lives that ``stood``, a trial's stand was told, and whether it was ``kept``."""
        self._tell(1, refuted, stood, kinds=1)
        self._tell(2, kept, decides, kinds=1)

    def _tell(self, series: int, event: Bools, who: Bools, *, kinds: int) -> None:
        quiet = self._quiet[series]
        rare = 1 / ((quiet + 1) * (quiet + 2))
        chance = np.where(event, rare / kinds, 1 - rare)
        self.chance = np.where(who, self.chance * chance, self.chance)
        self._quiet[series] = np.where(who, np.where(event, 0, quiet + 1), quiet)


def on_holdout(gains: Floats, picks: Floats, alphas: Floats, size: int) -> tuple[Bools, Bools]:
    """Who passes the holdout by ``gains`` (lives, groups of ``size`` rows), and who goes on trial.

    ``picks`` are the gains of one row of each group. Neither: rejected, because it is not ahead.
    The margin is 0.
    """
    ahead = gains.sum(axis=1) > 0
    passed = ahead & (holdout_p_value(gains, picks, size) <= alphas)
    return passed, ahead & ~passed


def on_trial(
    become: Floats, own: Floats, against: Floats, age: NDArray[np.int64], rules: Rules
) -> tuple[Bools, Bools, Bools]:
    """Whose trials are won, whose are lost, and which of these because they were refuted.

    ``become`` is the logarithm of what all levels have become, ``own`` and ``against`` are those of
    the wealth for and against whoever stands.
    """
    won = (become >= 0) & (own >= OWN)
    worse = ~won & (against >= -math.log(rules.abandon_alpha))
    return won, worse | (~won & (age >= rules.max_trial_nights)), worse


def log_mean(logs: Floats) -> Floats:
    """Logarithm of the mean over stakes of wealth given as logarithms, (lives, stakes)."""
    top = logs.max(axis=1)
    return top + np.log(np.exp(logs - top[:, None]).mean(axis=1))


@cache
def _question_alpha(number: int, budget: float) -> float:
    return alpha_budget.question_alpha(number, 1.0, budget=budget)


def question_alphas(number: NDArray[np.int64], chance: Floats, budget: float) -> Floats:
    """`flywheel.stats.alpha_budget.question_alpha` of every life."""
    return chance * np.array([_question_alpha(n, budget) if n else 0.0 for n in number.tolist()])


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


def holdout_p_value(gains: Floats, picks: Floats, size: int) -> Floats:
    """`flywheel.stats.paired_tests.excess_p_value` of every life; margin 0."""
    exact = row_p_value((picks > 0).sum(axis=1), (picks < 0).sum(axis=1))
    if size == 1:
        return exact
    counts = np.stack([(gains == value).sum(axis=1) for value in range(-size, size + 1)], axis=1)
    bets = np.log1p(np.outer(np.arange(-size, size + 1) / size, STAKES))
    wealth = np.exp(-np.maximum(0.0, log_mean(counts @ bets)))
    return np.maximum(LEAST, np.minimum(1.0, 2 * np.minimum(wealth, exact)))


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
