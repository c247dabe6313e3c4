"""Simulated lives of a use case: what is true of every challenger, its holdout, and its fresh rows.

All lives go through their nights together, as arrays. A model is which holdout rows it gets right;
a challenger is its champion with some rows changed, so that a champion that was lucky on the
holdout loses more of it again. Rows of one group change together with chance ``together``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
NEVER = np.iinfo(np.int64).max
SPOILED = 0.5
"""Share of challengers in spoiled that are worse."""
LATE, SPREAD = 100, 30
"""Nights without a gain in late_5pt: LATE, and up to SPREAD more, at random."""


@dataclass(frozen=True)
class Setting:
    """Sizes of the world: rows, and what share of them differ between two models."""

    holdout_groups: int = 500
    holdout_group_size: int = 1
    fresh_groups: int = 300
    fresh_group_size: int = 1
    together: float = 0.0
    """Chance that the rows of a group share one fate."""
    disagreement: float = 0.15
    """Share of rows that only one of two models gets right."""
    rater_error: float = 0.15
    """Chance that a fresh label names the other model's answer; the holdout's labels are gold."""
    accuracy: float = 0.85
    """Of the first champion."""
    train: int = 1_000
    """Training examples in the first night."""
    grows: int = 240
    """Training examples that a night adds."""
    decay: float = 0.0001
    """Accuracy that every model loses each night where the world moves."""


@dataclass
class Nights:
    """What a policy did, one entry per life."""

    promotions: NDArray[np.int64]
    worse: NDArray[np.int64]
    """Promotions of challengers truly worse than their champion that night."""
    equal: NDArray[np.int64]
    first: NDArray[np.int64]
    """The night of the first promotion of a truly better one, from 1; NEVER when there was none."""
    starts: NDArray[np.int64]
    """Nights before the first challenger that is better: waiting is counted from there."""
    final: Floats = field(default_factory=lambda: np.zeros(0))
    """True accuracy of the last champion."""


@dataclass(frozen=True)
class Scenario:
    """``gain(night, phase, waiting)``: what a challenger of that night is truly better by.

    ``phase`` in [0, 1) is each life's own; ``waiting`` says that no better one was promoted yet.
    """

    name: str
    meaning: str
    gain: Callable[[int, Floats, Bools], Floats]
    drifts: bool = False
    """Whether the gain of a frozen challenger moves with that of new ones."""
    adversarial: bool = False
    late: bool = False
    """Whether there is nothing better for the first nights."""


def quiet(phase: Floats) -> NDArray[np.int64]:
    """Nights without a gain in late_5pt; spread, lest trials end just then in all lives."""
    return LATE + (SPREAD * phase).astype(np.int64)


def _always(gain: float) -> Callable[[int, Floats, Bools], Floats]:
    return lambda night, phase, waiting: np.full_like(phase, gain)


def _better(night: int, phase: Floats, waiting: Bools) -> Floats:
    return np.where(waiting, 0.05, 0.0)


def _late(night: int, phase: Floats, waiting: Bools) -> Floats:
    return np.where(waiting & (night > quiet(phase)), 0.05, 0.0)


def _spoiled(night: int, phase: Floats, waiting: Bools) -> Floats:
    # a sequence that visits [0, 1) evenly, from another place in each life
    chance = (phase * 1_000 + night * (math.sqrt(5) - 1) / 2) % 1
    return np.where(chance < SPOILED, -0.01, _better(night, phase, waiting))


def _drift(night: int, phase: Floats, waiting: Bools) -> Floats:
    return -0.01 + 0.02 * np.sin(2 * np.pi * (night / 120 + phase))


SETTINGS = {
    "rows": Setting(),
    "groups": Setting(
        holdout_groups=250,
        holdout_group_size=2,
        fresh_groups=100,
        fresh_group_size=3,
        together=0.5,
    ),
    "few": Setting(holdout_groups=200, fresh_groups=60, grows=50),
}
SCENARIOS = {
    one.name: one
    for one in (
        Scenario(
            "equal",
            "every challenger is exactly as good",
            _always(0.0),
        ),
        Scenario(
            "better_5pt",
            "challengers are 5 points better until one is promoted, then exactly as good",
            _better,
        ),
        Scenario(
            "worse_3pt",
            "every challenger is 3 points worse",
            _always(-0.03),
        ),
        Scenario(
            "drift",
            "gains move between -3 and +1 points and back within 120 nights, those of frozen "
            "challengers too; every model loses 1 point in 100 nights",
            _drift,
            drifts=True,
        ),
        Scenario(
            "adversarial",
            "challengers are made from the holdout scores published so far, all half a point worse",
            _always(-0.005),
            adversarial=True,
        ),
        Scenario(
            "late_5pt",
            f"as equal for {LATE} to {LATE + SPREAD} nights, then as better_5pt",
            _late,
            late=True,
        ),
        Scenario(
            "spoiled",
            f"as better_5pt, but {100 * SPOILED:g} % of challengers are 1 point worse",
            _spoiled,
        ),
    )
}


class World:
    """The lives of one scenario, all at the same night."""

    def __init__(self, scenario: Scenario, setting: Setting, *, lives: int, seed: int) -> None:
        self.scenario, self.setting, self.lives = scenario, setting, lives
        self.rng = np.random.default_rng(seed)
        self.night = 0
        self.phase = self.rng.random(lives)
        self.accuracy = np.full(lives, setting.accuracy)
        self.gain = np.zeros(lives)
        self.champion = self._draw(lives) < setting.accuracy
        self.challenger = self.champion.copy()
        self.differs = np.full(lives, setting.disagreement)
        # whoever is on trial, beside tonight's newest challenger
        self.tried_gain = self.gain.copy()
        self.tried_differs = self.differs.copy()
        self.tried = self.challenger.copy()
        self.done = Nights(
            *(np.zeros(lives, np.int64) for _ in range(3)),
            first=np.full(lives, NEVER, np.int64),
            starts=quiet(self.phase) if scenario.late else np.zeros(lives, np.int64),
        )
        if scenario.adversarial:
            self.attack = Attack(self)

    def begin(self) -> None:
        """Let the next night begin; under drift, frozen challengers are worth what new ones are."""
        self.night += 1
        if self.scenario.drifts:
            self.gain = self.scenario.gain(self.night, self.phase, self.done.first == NEVER)
            self.tried_gain = self.gain.copy()

    def try_newest(self, who: Bools) -> None:
        """Put the newest challengers of the lives ``who`` on trial."""
        self.tried_gain = np.where(who, self.gain, self.tried_gain)
        self.tried_differs = np.where(who, self.differs, self.tried_differs)
        self.tried[who] = self.challenger[who]
        if self.scenario.adversarial:
            self.attack.on_trial[who] = self.attack.tried[who]

    def train(self, who: Bools) -> None:
        """Give the lives ``who`` a new challenger."""
        gain = self.scenario.gain(self.night, self.phase, self.done.first == NEVER)
        self.gain = np.where(who, gain, self.gain)
        lives = np.flatnonzero(who)
        if self.scenario.adversarial:
            self.attack.train(lives)
            return
        differ = np.maximum(self.setting.disagreement, np.abs(gain))[lives]
        right = np.clip(self.accuracy[lives], 0.01, 0.99)
        repaired = np.minimum(1.0, (differ + gain[lives]) / 2 / (1 - right))[:, None, None]
        broken = np.minimum(1.0, (differ - gain[lives]) / 2 / right)[:, None, None]
        was = self.champion[lives]
        changed = self._draw(len(lives)) < np.where(was, broken, repaired)
        self.challenger[lives] = was ^ changed

    def holdout(self) -> tuple[Floats, Floats]:
        """Right answers of challenger and champion in each group, (lives, groups)."""
        return self.challenger.sum(axis=2), self.champion.sum(axis=2)

    def picks(self) -> Floats:
        """What the challenger gains on the first row of each group, (lives, groups)."""
        ours, theirs = self.challenger[:, :, 0], self.champion[:, :, 0]
        return ours.astype(np.float64) - theirs

    def publish(self, who: Bools, ahead: Floats | None = None) -> None:
        """Tell the adversary by how many holdout rows the new challengers are ahead."""
        if self.scenario.adversarial:
            ours, theirs = self.holdout()
            self.attack.listen(who, (ours - theirs).sum(axis=1) if ahead is None else ahead)

    def fresh(self) -> NDArray[np.int64]:
        """How many of tonight's groups brought each of `values` to whoever is on trial.

        (lives, values).
        """
        win, lose = self.fates(
            self.setting.rater_error, gain=self.tried_gain, differs=self.tried_differs
        )
        return self.rng.multinomial(self.setting.fresh_groups, self._chances(win, lose))

    def gains(self, rows: int, noise: float) -> Floats:
        """The gain measured on ``rows`` independent rows of tonight, as a share of them."""
        win, lose = self.fates(noise, gain=self.gain, differs=self.differs)
        counts = self.rng.multinomial(rows, np.stack([win, lose, 1 - win - lose], axis=1))
        return (counts[:, 0] - counts[:, 1]) / rows

    def fates(self, noise: float, *, gain: Floats, differs: Floats) -> tuple[Floats, Floats]:
        """Chance that only the challenger, and only the champion, has what a label names."""
        if self.scenario.adversarial:
            coin, spoiled = differs, np.maximum(-gain, 0)
            win = coin / 2 + spoiled * noise
            lose = coin / 2 + spoiled * (1 - noise)
        else:
            differ = np.maximum(self.setting.disagreement, np.abs(gain))
            better, worse = (differ + gain) / 2, (differ - gain) / 2
            win = better * (1 - noise) + worse * noise
            lose = worse * (1 - noise) + better * noise
        return win, lose

    def values(self) -> Floats:
        """The gains that a fresh group can bring, from -1 to 1."""
        size = self.setting.fresh_group_size
        return np.arange(-size, size + 1) / size

    def score(self) -> Floats:
        """Accuracy of tonight's challenger on as many gold rows as the holdout has, drawn now."""
        rows = self.setting.holdout_groups * self.setting.holdout_group_size
        true = self.accuracy + self.gain
        if self.scenario.drifts:
            true = true - self.setting.decay * self.night
        return self.rng.binomial(rows, np.clip(true, 0, 1)) / rows

    def promote(self, who: Bools) -> None:
        """Make tonight's newest challengers of the lives ``who`` champions."""
        self._promote(who, self.gain, self.challenger)
        if self.scenario.adversarial:
            self.attack.promoted(np.flatnonzero(who), self.attack.tried)

    def promote_tried(self, who: Bools) -> None:
        """Make those on trial of the lives ``who`` champions."""
        self._promote(who, self.tried_gain, self.tried)
        if self.scenario.adversarial:
            self.attack.promoted(np.flatnonzero(who), self.attack.on_trial)

    def _promote(self, who: Bools, gain: Floats, right: Bools) -> None:
        done = self.done
        done.promotions += who
        done.worse += who & (gain < 0)
        done.equal += who & (gain == 0)
        done.first = np.where(who & (gain > 0), np.minimum(done.first, self.night), done.first)
        self.accuracy = self.accuracy + np.where(who, gain, 0.0)
        self.champion[who] = right[who]

    def end(self) -> Nights:
        """What happened, once the last night is over."""
        self.done.final = self.accuracy
        return self.done

    def _draw(self, lives: int) -> NDArray[np.float32]:
        """Uniform numbers for the holdout's rows of some lives, shared within a group by chance."""
        groups, size = self.setting.holdout_groups, self.setting.holdout_group_size
        drawn = self.rng.random((lives, groups, size), dtype=np.float32)
        if size > 1 and self.setting.together > 0:
            shared = self.rng.random((lives, groups, 1), dtype=np.float32) < self.setting.together
            drawn = np.where(shared, drawn[:, :, :1], drawn)
        return drawn

    def _chances(self, win: Floats, lose: Floats) -> Floats:
        """Chance of each of `values` for a group, (lives, values)."""
        one = np.stack([lose, 1 - win - lose, win], axis=1)
        size = self.setting.fresh_group_size
        if size == 1:
            return one
        apart = one
        for _ in range(size - 1):
            wide = np.zeros((len(one), apart.shape[1] + 2))
            for shift in range(3):
                wide[:, shift : shift + apart.shape[1]] += apart * one[:, shift : shift + 1]
            apart = wide
        alike = np.zeros_like(apart)
        alike[:, [0, size, 2 * size]] = one
        mixed = self.setting.together * alike + (1 - self.setting.together) * apart
        return mixed / mixed.sum(axis=1, keepdims=True)


class Attack:
    """The ladder attack of Blum and Hardt 2015 (ICML, section 4), with every score published.

    In three tenths of the groups nobody can do better than guess, and there the adversary answers
    as it likes: at random at first, then with the majority of its random answers, each weighted by
    how far its published score was above the champion's. Every fourth challenger is the champion
    with one in twenty of those answers changed. All are right by chance there, and each breaks a
    share of the other rows, which makes it truly worse. A share ``together`` of the groups is all
    alike inside: one truth, one answer, one fate.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        setting = world.setting
        self.groups, self.size = setting.holdout_groups, setting.holdout_group_size
        self.open = round(2 * setting.disagreement * self.groups)
        self.alike = world.rng.random((world.lives, self.groups, 1)) < setting.together
        every = np.arange(world.lives)
        self.truth = self._coins(every)[:, : self.open] < 0.5
        self.answers = self._coins(every)[:, : self.open] < 0.5
        self.tried = self.answers.copy()
        self.on_trial = self.answers.copy()
        self.learned = np.zeros(self.answers.shape, np.float32)
        self.questions = np.zeros(world.lives, np.int64)
        world.champion[:, : self.open] = self.answers == self.truth
        world.champion[:, self.open :] = True

    def train(self, lives: NDArray[np.int64]) -> None:
        world = self.world
        kind = self.questions[lives] % 4
        coins = self._coins(lives)
        guess = coins[:, : self.open]
        combined = (self.questions[lives] >= 4) & (kind == 2)
        cloned = kind == 3
        best = np.where(self.learned[lives] == 0, guess < 0.5, self.learned[lives] > 0)
        clone = self.answers[lives] ^ (guess < 0.05)
        tried = np.where(combined[:, None, None], best, guess < 0.5)
        tried = np.where(cloned[:, None, None], clone, tried)
        self.tried[lives] = tried
        changed = (tried != self.answers[lives]).mean(axis=(1, 2))
        world.differs[lives] = changed * (self.open / self.groups)
        spoiled = -world.gain[lives] * self.groups / (self.groups - self.open)
        kept = coins[:, self.open :] >= spoiled[:, None, None]
        world.challenger[lives, : self.open] = tried == self.truth[lives]
        world.challenger[lives, self.open :] = world.champion[lives, self.open :] & kept
        self.questions[lives] += 1

    def listen(self, who: Bools, ahead: Floats) -> None:
        """Learn from the published scores of what was tried."""
        moved = self.tried[who].astype(np.float32) - self.answers[who]
        self.learned[who] += ahead[who, None, None].astype(np.float32) * moved

    def promoted(self, lives: NDArray[np.int64], answers: Bools) -> None:
        self.answers[lives] = answers[lives]

    def _coins(self, lives: NDArray[np.int64]) -> NDArray[np.float32]:
        """Uniform numbers, (lives, groups, rows of a group); one for all rows that are alike."""
        drawn = self.world.rng.random((len(lives), self.groups, self.size), dtype=np.float32)
        return np.where(self.alike[lives], drawn[:, :, :1], drawn)
