"""The error budget of a use case's whole life, and what of it each question may spend.

``alpha`` bounds the chance of *ever* promoting a challenger that is no better than its champion.
One share pays for questions to the exam, the rest for trials on fresh rows; the chance that either
errs is at most the sum.

The exam is asked again and again, and whoever learns a verdict has learned something of it. A
verdict has three outcomes, so that after ``told`` verdicts there are 3**told things that a
challenger can have been made from. For each the test is an honest one on fresh data, hence the
level of the n-th question is divided by 3**told, and by 2**n so that all questions together stay
within the budget (the union bound behind ease.ml/ci, Renggli et al. 2019, and the description
length of Dwork et al. 2015).

Fresh rows cannot be overfitted: they did not exist when the challenger was frozen. Trials share
their budget as n**-2, and a trial that ended in a promotion hands its level on to the next
(online fallback: Tian and Ramdas 2021, Statistics in Medicine 40:5074-5093).
"""

from __future__ import annotations

import math
from statistics import NormalDist

VERDICTS = 3
TRIAL_SHARES = 6 / math.pi**2
"""Makes the shares n**-2 sum to one."""


def question_alpha(number: int, told: int, *, budget: float) -> float:
    """Level of the ``number``-th comparison (from 1) on an exam that ``told`` verdicts before."""
    return budget * 2.0**-number * float(VERDICTS) ** -told


def trial_alpha(number: int, *, carried: float, budget: float) -> float:
    """Level of the ``number``-th trial (from 1); ``carried`` is that of the one just won, or 0."""
    return carried + budget * TRIAL_SHARES / number**2


def visible_gain(alpha: float, rows: int, *, disagreement: float, power: float = 0.8) -> float:
    """The smallest gain in accuracy that a question at ``alpha`` sees with chance ``power``.

    ``disagreement`` in (0, 1] is the share of rows that only one contender gets right. In (0, 1];
    1.0 when there are no rows. Connor 1987, Biometrics 43:207-211.
    """
    if rows <= 0:
        return 1.0
    normal = NormalDist()
    reach = normal.inv_cdf(1 - alpha) + normal.inv_cdf(power)
    return min(1.0, reach * math.sqrt(disagreement / rows))


def rows_for(gain: float, alpha: float, *, disagreement: float, power: float = 0.8) -> int:
    """Exam rows with which a question at ``alpha`` sees ``gain`` with chance ``power``."""
    normal = NormalDist()
    reach = normal.inv_cdf(1 - alpha) + normal.inv_cdf(power)
    return math.ceil((reach / gain) ** 2 * disagreement)
