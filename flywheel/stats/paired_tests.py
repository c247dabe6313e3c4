"""The statistics of two contenders on the same holdout rows, and nothing else.

``wins`` are rows that only the challenger got right, ``losses`` rows that only the champion got
right; rows on which both agree say nothing about which is better. scipy is imported on first use.
The interval of a share is our own: a test holds its ends to scipy's, and ``status`` shows it
without importing ``scipy.stats``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev

import numpy as np

from flywheel.stats.e_process import log_wealth

LEAST = 1e-300
"""No p-value is reported under it: below, floats lose their digits, and 0 would pass any level."""


def paired_p_value(wins: int, losses: int) -> float:
    """Chance of at least ``wins`` wins if the challenger were no better: one-sided, exact.

    P(X >= wins) with X ~ Bin(wins + losses, 1/2): the exact form of McNemar's test (McNemar 1947,
    Psychometrika 12:153-157). In [1e-300, 1]; 1.0 when there are no wins.
    """
    if wins + losses == 0:
        return 1.0
    from scipy.stats import binomtest

    found = float(binomtest(wins, wins + losses, 0.5, alternative="greater").pvalue)
    return max(LEAST, found)


def sign_flip_p_value(gains: Sequence[int]) -> float:
    """As `paired_p_value`, for rows that come in groups: each gain is wins less losses of a group.

    The chance that the total is at least what it is when the sign of every group's gain is a fair
    coin's (Fisher 1935, The Design of Experiments, section 21; exact, by convolution). With groups
    of one row it is McNemar's exact test. In [1e-300, 1].

    It asks whether the contenders could be exchanged, not whether the mean gain is positive: where
    a challenger wins many small groups and loses few large ones, it is too sure. A promotion rests
    on `excess_p_value`, which is not.
    """
    sizes = [abs(gain) for gain in gains if gain]
    most = sum(sizes)
    chances = np.zeros(2 * most + 1)
    chances[most] = 1.0
    for size in sizes:
        chances = (np.roll(chances, size) + np.roll(chances, -size)) / 2
    return min(1.0, max(LEAST, float(chances[most + sum(gains) :].sum())))


def excess_p_value(
    gains: Sequence[int],
    rows: Sequence[int],
    *,
    margin: float,
    picks: Sequence[int] | None = None,
) -> float:
    """Bound on the chance of gains this large if the true gain were at most ``margin``: one-sided.

    ``gains`` are wins less losses of each group, ``rows`` its number of rows; the true gain is the
    mean over groups of the share gained in each, so that a group counts once, however large. Holds
    at any level and for groups of any shape: McNemar's exact test where ``margin`` is 0 and every
    group has one row, otherwise one over the wealth of `flywheel.stats.e_process` (Markov's
    inequality).

    ``picks`` are the gains of one row of each group, chosen without a look at any gain. On the mean
    of groups they gain what the groups do, so that McNemar's test on them is honest, too. Where
    ``margin`` is 0, twice the lesser of both is the p-value (Bonferroni): bets are dear where most
    groups have one row, and picks where groups have many. In [1e-300, 1].
    """
    # by the rows and never by the gains: a large loss that was not seen could have been
    if margin == 0 and all(count == 1 for count in rows):
        return paired_p_value(sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains))
    shares = [gain / count for gain, count in zip(gains, rows, strict=True)]
    found = math.exp(-max(0.0, log_wealth(shares, margin=margin)))
    if margin == 0 and picks is not None:
        exact = paired_p_value(sum(pick > 0 for pick in picks), sum(pick < 0 for pick in picks))
        found = 2 * min(found, exact)
    return min(1.0, max(LEAST, found))


def wilson_interval(
    successes: int, trials: int, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of a share, as (low, high) in [0, 1]; (0, 1) when there are no trials.

    Wilson 1927, JASA 22:209-212, two-sided at ``confidence`` in (0, 1).
    """
    if trials == 0:
        return (0.0, 1.0)
    z = _two_sided_z(confidence)
    share, weight = successes / trials, z * z / trials
    middle = (share + weight / 2) / (1 + weight)
    half = z * math.sqrt(share * (1 - share) / trials + weight / (4 * trials)) / (1 + weight)
    # At the ends the formula is exactly 0 or 1; rounding must not move it inwards.
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    high = 1.0 if successes == trials else min(1.0, middle + half)
    return (low, high)


def paired_difference_interval(
    wins: int, losses: int, rows: int, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of challenger accuracy minus champion accuracy, as (low, high) in [-1, 1].

    Wald's paired interval after adding 1/2 to each of the four cells: Agresti and Min 2005,
    Statistics in Medicine 24:729-740. Two-sided at ``confidence`` in (0, 1). ``rows`` counts all
    holdout rows; (-1, 1) when there are none.
    """
    if rows == 0:
        return (-1.0, 1.0)
    total, gain, discordant = rows + 2, wins - losses, wins + losses + 1
    half = _two_sided_z(confidence) * math.sqrt(discordant - gain * gain / total) / total
    return (max(-1.0, gain / total - half), min(1.0, gain / total + half))


def labels_to_decide(
    wins: int, losses: int, rows: int, *, alpha: float, power: float = 0.8
) -> int | None:
    """Estimate how many holdout rows, on top of ``rows``, would settle the comparison.

    Assumes that the true win and loss rates are those observed, and asks for the holdout size at
    which :func:`paired_p_value` falls to ``alpha`` with chance ``power`` (both in (0, 1)). Connor
    1987, Biometrics 43:207-211, with the one-half continuity correction that the exact test calls
    for. At least 1; None when there is no observed gain, because then no number would do.
    """
    if rows <= 0 or wins <= losses:
        return None
    gain, discordant = (wins - losses) / rows, (wins + losses) / rows
    reach = upper_z(alpha) * math.sqrt(discordant)
    reach += upper_z(1 - power) * math.sqrt(discordant - gain * gain)
    # Solves n * gain - 1 = reach * sqrt(n); without the 1 it is Connor's formula.
    root = (reach + math.sqrt(reach * reach + 4 * gain)) / (2 * gain)
    return max(1, math.ceil(root * root) - rows)


def upper_z(alpha: float) -> float:
    """The standard normal's value that is exceeded with chance ``alpha`` in [0, 1).

    Also for an ``alpha`` so small that 1 - alpha is 1; under 1e-300 it is that of 1e-300.
    """
    return -NormalDist().inv_cdf(max(LEAST, alpha))


def _two_sided_z(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean of ``values`` in [0, 1], by Student's t; in [0, 1] as well.

    (0, 1) for fewer than two values.
    """
    if len(values) < 2:
        return 0.0, 1.0
    from scipy.stats import t

    reach = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return max(0.0, fmean(values) - reach), min(1.0, fmean(values) + reach)
