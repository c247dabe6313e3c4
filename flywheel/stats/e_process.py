"""What rows say of a gain when one may look after every night: betting, not testing.

A bettor stakes a share of its wealth on each group of rows, and gains when the challenger does
better by more than ``margin``. Where it truly does not, wealth is a supermartingale: the chance
that it ever reaches ``1 / alpha`` is at most ``alpha`` (Ville 1939), however often one looks and
whatever made one stop. Waudby-Smith and Ramdas 2023, JRSS B 86:1-27 (section 4); the stakes are
averaged over a fixed grid, so that the order of rows does not matter.

"Truly does not" means: each night, given all that was seen before, the expected gains of that
night's groups are on average at most ``margin``, and the groups do not influence each other.
Groups may come back on other nights and the world may move; a group counts once a night, however
many rows it has. Where a gain turns into a loss during a trial, wealth won before still counts.

``gains`` are what each group of rows brought, in [-1, 1]: positive where the challenger was better.
Rows of one group may depend on each other, which is why a group is one bet.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from flywheel.records import FreshRow
from flywheel.stats import design_effect

STAKES = tuple(0.9 * 2.0**-step for step in range(5))
"""Shares of what may be staked: from nearly all, which finds large gains, to six percent.

Smaller stakes would need more rows than trials have, and each stake is paid for by the others.
"""


@dataclass(frozen=True)
class Bet:
    """What one group brought in one night, in [-1, 1], and the customers who spoke on its rows.

    ``weight`` in (0, 1] is what the group counts for: ``gain`` is its gain times that, so that it
    is compared with a margin times that.
    """

    gain: float
    customers: frozenset[str] = frozenset()
    weight: float = 1.0


def group_gains(
    rows: Iterable[FreshRow], *, weighted: bool = True, by_row: bool = False
) -> list[float]:
    """The gains of `group_bets`."""
    return [bet.gain for bet in group_bets(rows, weighted=weighted, by_row=by_row)]


def group_bets(
    rows: Iterable[FreshRow],
    *,
    weighted: bool = True,
    by_row: bool = False,
    bounded: bool = True,
    margin: float = 0.0,
) -> list[Bet]:
    """One bet for each group of each night: the mean over its rows of right less right.

    ``by_row`` takes each row for a group of its own, in those nights before which the rows so far
    showed that their design effect is near 1 (`flywheel.stats.design_effect`). Which unit a night
    has was told before its rows came, so each bet is as fair as before.

    ``weighted`` counts a row that was drawn with probability p as 1 / p rows, scaled so that the
    rarest draw of its night counts 1 (Horvitz and Thompson 1952). The bet is fair for draws of a
    fixed number of rows, as audits are: then which probabilities a night has says nothing of which
    rows were drawn. Were each row drawn by its own coin, the scale would depend on the draw.

    Audits and rows that are always labeled are two strata, and neither is weighed by the other: a
    row that was not drawn counts 1, as does the rarest draw. So one audit among a thousand requests
    does not take all others their say. What is assumed of the others is said in
    docs/concepts/assumptions.md; what audits say by themselves is
    `flywheel.gate.trial_progress.Progress.audits_against`.

    Reactions count by `FreshRow.won_weight` and ``lost_weight``, which bound what selective ones
    make of a gain (`flywheel.gate.coverage`). They bound it from above; who asks for a loss takes
    rows that are not ``bounded``. A gain over a ``margin`` is compared with the margin by whichever
    of the two weights makes that harder.
    """
    found = bets_by_night(rows, weighted=weighted, by_row=by_row, bounded=bounded, margin=margin)
    return [bet for bets in found.values() for bet in bets]


def bets_by_night(
    rows: Iterable[FreshRow],
    *,
    weighted: bool = True,
    by_row: bool = False,
    bounded: bool = True,
    margin: float = 0.0,
) -> dict[datetime, list[Bet]]:
    """The bets of `group_bets`, night by night, the oldest first."""
    nights: dict[datetime, list[FreshRow]] = {}
    for row in rows:
        nights.setdefault(row.as_of, []).append(row)
    found, before = dict[datetime, list[Bet]](), list[FreshRow]()
    for as_of in sorted(nights):
        apart = by_row and design_effect.near_one(before)
        tonight = nights[as_of]
        if not (weighted and bounded):
            tonight = [replace(row, won_weight=1.0, lost_weight=1.0) for row in tonight]
        found[as_of] = _of_a_night(tonight, weighted=weighted, apart=apart, beyond=margin >= 0)
        before += nights[as_of]
    return found


def widened(rows: Sequence[FreshRow]) -> int:
    """In how many nights with groups of several rows `group_bets` takes no row by itself."""
    found = 0
    for as_of in {row.as_of for row in rows}:
        tonight = [row.group_id for row in rows if row.as_of == as_of]
        if len(set(tonight)) < len(tonight):
            found += not design_effect.near_one(row for row in rows if row.as_of < as_of)
    return found


def _of_a_night(
    rows: Sequence[FreshRow], *, weighted: bool, apart: bool, beyond: bool
) -> list[Bet]:
    groups: dict[str, list[FreshRow]] = {}
    for row in rows:
        groups.setdefault(row.example_id if apart else row.group_id, []).append(row)
    rarest = min((row.probability for row in rows if row.probability), default=1.0)
    bets = []
    for group in groups.values():
        weights = [_weight(row, rarest) if weighted else 1.0 for row in group]
        gains = [weight * _gain(row) for row, weight in zip(group, weights, strict=True)]
        spoke = frozenset(name for row in group for name in row.customers)
        held_to = [
            weight * (row.lost_weight if beyond else min(row.won_weight, row.lost_weight))
            for row, weight in zip(group, weights, strict=True)
        ]
        bets.append(Bet(sum(gains) / len(group), spoke, sum(held_to) / len(group)))
    return bets


def _gain(row: FreshRow) -> float:
    """What a row says, in [-1, 1]."""
    if row.challenger_right == row.champion_right:
        return 0.0
    return row.won_weight if row.challenger_right else -row.lost_weight


def _weight(row: FreshRow, rarest: float) -> float:
    """What a row counts for among those of its stratum, in (0, 1]."""
    return rarest / row.probability if row.probability else 1.0


def log_wealth(
    gains: Sequence[float], *, margin: float = 0.0, weights: Sequence[float] | None = None
) -> float:
    """Natural logarithm of the wealth, which starts at 1, after betting on a gain over ``margin``.

    ``weights`` in (0, 1] are those of `Bet`; without any all are 1. 0.0 for no gains; any finite
    number otherwise.
    """
    shares = 1.0 if weights is None else np.asarray(weights, dtype=np.float64)
    values = np.asarray(gains, dtype=np.float64) - margin * shares
    return mean_wealth(
        [float(np.log1p(stake_of(stake, margin) * values).sum()) for stake in STAKES]
    )


def stake_of(stake: float, margin: float) -> float:
    """What is staked on gains over ``margin``: all of it where they could be lost at worst."""
    return stake / (1.0 + margin)


def mean_wealth(logs: Sequence[float]) -> float:
    """The logarithm of the mean over stakes, from the logarithm of what each is worth."""
    top = max(logs)
    return top + math.log(math.fsum(math.exp(one - top) for one in logs) / len(logs))


def log_wealth_against(
    gains: Sequence[float], *, margin: float = 0.0, weights: Sequence[float] | None = None
) -> float:
    """As `log_wealth`, betting that the gain is under ``margin``."""
    return log_wealth([-gain for gain in gains], margin=-margin, weights=weights)


def confidence_sequence(
    gains: Sequence[float], *, alpha: float, weights: Sequence[float] | None = None
) -> tuple[float, float]:
    """Interval of the mean gain, as (low, high) in [-1, 1], that holds at all times together.

    All margins that neither bet refutes at ``alpha / 2``; (-1, 1) when there are no gains.
    ``weights`` as in `log_wealth`: then it is that of the weighted mean.
    """
    limit = math.log(2 / alpha)
    low = edge(lambda m: log_wealth(gains, margin=m, weights=weights) >= limit)
    high = -edge(lambda m: log_wealth_against(gains, margin=-m, weights=weights) >= limit)
    return low, high


def groups_to_decide(gains: Sequence[float], *, alpha: float, margin: float = 0.0) -> int | None:
    """Estimate how many further groups would bring wealth to ``1 / alpha``, if all goes on so.

    None when wealth does not grow, or ``alpha`` is 0, because then no number would do; 0 when it is
    there.
    """
    if alpha <= 0:
        return None
    wealth = log_wealth(gains, margin=margin)
    missing = -math.log(alpha) - wealth
    if missing <= 0:
        return 0
    values = np.asarray(gains, dtype=np.float64) - margin
    if not len(values) or values.mean() <= 0:
        return None
    most = 1.0 / (1.0 + margin)
    growth = max(float(np.log1p(stake * most * values).mean()) for stake in STAKES)
    return math.ceil(missing / growth) if growth > 0 else None


def edge(refuted: Callable[[float], bool]) -> float:
    """The greatest margin in [-1, 1] that is refuted, found by halving; -1 when none is."""
    low, high = -1.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low
