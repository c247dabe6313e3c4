"""The error budget of a use case's whole life, and what of it each question may spend.

``alpha`` bounds the chance of *ever* promoting a challenger that is no better than its champion.
One share pays for questions to the holdout, the rest for trials on fresh rows; the chance that
either errs is at most the sum.

The holdout is asked again and again, and whoever learns a verdict has learned something of it. For
each series of verdicts the next challenger is another one, and for each the test is an honest one
on fresh data. So the levels of all series together must stay within the budget (the union bound
behind ease.ml/ci, Renggli et al. 2019, and the description length of Dwork et al. 2015). Each
series gets its part by a chance that is fixed before (`Told.chance`); the chances of all series of
one length add up to one. Most verdicts are ``undecided``, so that series of such verdicts get most:
nights that tell nothing new cost next to nothing, and each other verdict costs a factor. The n-th
question takes one part in n + 1 of what all before it have left.

Verdicts on trials count, too: rows of a trial can be held out later. What is proven is about
verdicts; scores that people read and act on tell more.

Fresh rows cannot be overfitted: they did not exist when the challenger was frozen. Trials share
their budget as n**-1.5. The levels of all trials against one champion are bet on together, each
from its own first night on, so that a gain that comes late is not held back by what was lost
before it, and one that many challengers share need not be shown by each. What they have become
when the champion changes, at most what was granted, goes to the next trial: evidence that was
staked and not lost is still there to stake, and what was won is granted again (online fallback:
Tian and Ramdas 2021, Statistics in Medicine 40:5074-5093). The sum of what may still be spent and
of the chance of having erred never grows in expectation, because challengers that are no better
turn levels of a together into at most a, be it as an error (when it reaches 1) or as money left.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from flywheel.stats.paired_tests import upper_z

TRIAL_SHARES = 1 / 2.61237534869
"""Makes the shares n**-1.5 sum to one: one over Riemann's zeta(1.5), rounded down."""


@dataclass(frozen=True)
class Told:
    """What was told of a holdout's rows so far.

    ``moved`` says of each verdict whether it was another than ``undecided``, the oldest first.
    ``refuted`` says of each verdict beside which a challenger stood trial whether fresh rows
    refuted that challenger. ``kept`` says of each night in which fresh rows decided whether a newer
    challenger takes its place whether it kept it.
    """

    moved: tuple[bool, ...] = ()
    refuted: tuple[bool, ...] = ()
    kept: tuple[bool, ...] = ()

    @property
    def chance(self) -> float:
        """The chance in (0, 1] that was fixed for this series before it began.

        A verdict that moved something is one of two, promoted or rejected. 0.0 where the series is
        too long for a float.
        """
        beside = _chance(self.refuted, kinds=1) * _chance(self.kept, kinds=1)
        return _chance(self.moved, kinds=2) * beside


def _chance(events: Iterable[bool], *, kinds: int) -> float:
    """The chance of a series in which events, each of one of so many ``kinds``, are rare.

    After q quiet nights in a row an event has the chance 1 / ((q + 1) (q + 2)): one half at first,
    and a whole series without events has more than 0.29.
    """
    chance, quiet = 1.0, 0
    for event in events:
        rare = event_chance(quiet)
        chance *= rare / kinds if event else 1 - rare
        quiet = 0 if event else quiet + 1
    return chance


def event_chance(quiet: int) -> float:
    """Chance of an event after so many ``quiet`` nights in a row, in (0, 1/2]."""
    return 1 / ((quiet + 1) * (quiet + 2))


def question_share(number: int, left: float | None = None) -> float:
    """Share of the holdout's budget for the ``number``-th question (from 1).

    ``left`` in [0, 1] is what those before have left of it; None where all took theirs by this
    rule: then it is 1 / (n (n + 1)).
    """
    return (1 / number if left is None else left) / (number + 1)


def unspent(shares: Iterable[float | None]) -> float:
    """What is left of the holdout's budget after questions that took these shares, in [0, 1]."""
    return max(0.0, 1.0 - math.fsum(share or 0.0 for share in shares))


def question_alpha(
    number: int,
    chance: float,
    *,
    budget: float,
    left: float | None = None,
    chosen_of: int = 1,
) -> float:
    """Level of the ``number``-th comparison (from 1) on a holdout, after what has this ``chance``.

    ``chance`` is that of `Told`; ``left`` as in `question_share`. ``chosen_of`` is the number of
    challengers of which this is the best by the same holdout: each could have been asked
    (Bonferroni).
    """
    return budget / max(1, chosen_of) * question_share(number, left) * chance


def trial_alpha(number: int, *, carried: float, budget: float) -> float:
    """Level of the ``number``-th trial (from 1); ``carried`` is what `handed_on` gave, or 0."""
    return carried + budget * TRIAL_SHARES / (number * math.sqrt(number))


def handed_on(alpha: float, log_wealth: float) -> float:
    """Level that trials at ``alpha`` together, ended with ``log_wealth``, leave to the next one.

    All of it when they were won, at most all of it otherwise; to be given to one later trial only.
    """
    return alpha * math.exp(min(0.0, log_wealth))


def visible_gain(alpha: float, rows: int, *, disagreement: float, power: float = 0.8) -> float:
    """The smallest gain in accuracy that a question at ``alpha`` sees with chance ``power``.

    ``disagreement`` in (0, 1] is the share of rows that only one contender gets right. In (0, 1];
    1.0 when there are no rows. Connor 1987, Biometrics 43:207-211.
    """
    if rows <= 0:
        return 1.0
    reach = upper_z(alpha) + upper_z(1 - power)
    return min(1.0, reach * math.sqrt(disagreement / rows))


def rows_for(gain: float, alpha: float, *, disagreement: float, power: float = 0.8) -> int:
    """Holdout rows with which a question at ``alpha`` sees ``gain`` with chance ``power``."""
    reach = upper_z(alpha) + upper_z(1 - power)
    return math.ceil((reach / gain) ** 2 * disagreement)
