"""The error budget of a use case's whole life, and what of it each question may spend.

``alpha`` bounds the chance of *ever* promoting a challenger that is no better than its champion.
One share pays for questions to the holdout, the rest for trials on fresh rows; the chance that
either errs is at most the sum.

The holdout is asked again and again, and whoever learns a verdict has learned something of it. A
verdict has three outcomes, so that after ``v`` verdicts there are 3**v things that a
challenger can have been made from. For each the test is an honest one on fresh data, hence the
level of the n-th question is divided by 3**v, and by 2**n so that all questions together stay
within the budget (the union bound behind ease.ml/ci, Renggli et al. 2019, and the description
length of Dwork et al. 2015). Verdicts on trials count, too: rows of a trial can be held out
later. What is proven is about verdicts; scores that people read and act on tell more.

Fresh rows cannot be overfitted: they did not exist when the challenger was frozen. Trials share
their budget as n**-1.5. What a trial has left, its level times its final wealth and at most its
level, goes to the next: staked evidence that was not lost is still there to stake. A trial that was
won hands on all of its level (online fallback: Tian and Ramdas 2021, Statistics in Medicine
40:5074-5093), and one that was lost what its bettor kept. The sum of what may still be spent and of
the chance of having erred never grows in expectation, because a challenger that is no better turns
a level of a into at most a, be it as an error (wealth over 1 / a) or as money left.
"""

from __future__ import annotations

import math

from flywheel.stats.paired_tests import upper_z

VERDICTS = 3
TRIAL_SHARES = 1 / 2.61237534869
"""Makes the shares n**-1.5 sum to one: one over Riemann's zeta(1.5), rounded down."""


def question_alpha(
    number: int, verdicts_so_far: int, *, budget: float, chosen_of: int = 1
) -> float:
    """Level of the ``number``-th comparison (from 1) on a holdout after so many verdicts.

    ``chosen_of`` is the number of challengers of which this is the best by the same holdout: each
    could have been asked (Bonferroni). Positive at first, and 0.0 after about 400 verdicts: no
    p-value passes that.
    """
    return budget / max(1, chosen_of) * 2.0**-number * float(VERDICTS) ** -verdicts_so_far


def trial_alpha(number: int, *, carried: float, budget: float) -> float:
    """Level of the ``number``-th trial (from 1); ``carried`` is what `handed_on` gave, or 0."""
    return carried + budget * TRIAL_SHARES / (number * math.sqrt(number))


def handed_on(alpha: float, log_wealth: float) -> float:
    """Level that a trial at ``alpha``, ended with ``log_wealth``, leaves to the next one.

    All of it when it was won, at most all of it otherwise; to be given to one later trial only.
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
