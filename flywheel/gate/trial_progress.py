"""How a trial stands: what fresh rows say of a challenger, with those that stood before it.

Wealth is that of all levels against one champion (`flywheel.influence.quorum.log_levels`); gains
and what speaks against a challenger are its own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from flywheel.config import GateConfig
from flywheel.influence import quorum as quorums
from flywheel.influence.quorum import SHIPPED, Quorum
from flywheel.records import EarlierTrial, FreshRow, Trial
from flywheel.stats.e_process import (
    Bet,
    bets_by_night,
    confidence_sequence,
    group_bets,
    group_gains,
    widened,
)

DAY = timedelta(days=1)
FUTILE = math.log(20)
"""Log wealth of the bet against a challenger that ends its trial: it is worse, at 5 %."""
OWN = math.log(2)
"""Log wealth that a challenger's own rows must bring, whatever others showed before it."""


@dataclass(frozen=True)
class Progress:
    """How a trial stands. Wealth in natural logarithms, gains in [-1, 1], raw and weighted.

    ``rows``, gains and what is ``against`` are the challenger's own. ``log_wealth`` is that of all
    levels together, on its own nights and those of ``earlier`` challengers before; ``own`` is that
    of its own rows. ``since`` is the earlier trial from which on most of it was won.
    """

    nights: int
    rows: int
    groups: int
    wins: int
    losses: int
    raw_gain: float
    gain: float
    low: float
    high: float
    log_wealth: float
    needed: float
    against: float
    further_groups: int | None
    audits_against: float = 0.0
    """As ``against``, of the audits alone; 0 where there are no others beside them."""
    widened: int = 0
    """Nights in which rows of a group were one bet, though `gate.unit` is row."""
    own: float = 0.0
    earlier: int = 0
    since: int = 0
    own_audits_against: float = 0.0
    whole_weeks: float | None = None
    """As ``log_wealth``, of the levels that were bet on for whole weeks; None: others count too."""

    @property
    def proven(self) -> bool:
        """Whether wealth has reached one over the level in one of the challenger's own nights.

        Its own rows must speak for it (`OWN`) and not refute it since, and audits alone must not
        speak against it. Audits are drawn from all requests; other rows are from whoever reacted.
        """
        wealth = self.log_wealth if self.whole_weeks is None else self.whole_weeks
        enough = wealth >= self.needed and self.own >= OWN
        return enough and self.audits_against < FUTILE and not self.refuted

    @property
    def lacks_own(self) -> bool:
        """Whether all that is missing is that its own rows speak for it."""
        return self.log_wealth >= self.needed and self.own < OWN

    @property
    def refuted(self) -> bool:
        """Whether the challenger is worse, on all of its rows or on those that were drawn."""
        return max(self.against, self.own_audits_against) >= FUTILE


def stand(trial: Trial, limits: GateConfig) -> Progress:
    """`progress` by the rules of a use case."""
    return progress(
        trial,
        margin=limits.margin,
        by_row=limits.unit == "row",
        quorum=Quorum.of(limits),
        whole_weeks=limits.whole_weeks,
    )


def progress(
    trial: Trial,
    *,
    margin: float = 0.0,
    by_row: bool = False,
    quorum: Quorum = SHIPPED,
    whole_weeks: bool = False,
) -> Progress:
    """How the trial stands after its rows so far.

    Wealth is the greatest after any of its own nights: what was proven once stays proven. It is
    what is left without those customers that ``quorum`` leaves out; gains and their interval are of
    all. With ``whole_weeks`` a level proves only after 7, 14, 21 ... days of bets.
    """
    bets = group_bets(trial.rows, by_row=by_row, margin=margin)
    plain = group_bets(trial.rows, by_row=by_row, bounded=False)
    gains = [bet.gain for bet in bets]
    weights = [bet.weight for bet in bets]
    raw = group_gains(trial.rows, weighted=False, by_row=by_row)
    wealth, own, since, whole = _wealth(
        trial, margin=margin, by_row=by_row, quorum=quorum, whole_weeks=whole_weeks
    )
    needed = -math.log(trial.level)
    return Progress(
        nights=len({row.as_of for row in trial.rows}),
        rows=len(trial.rows),
        groups=len(gains),
        wins=sum(r.challenger_right and not r.champion_right for r in trial.rows),
        losses=sum(r.champion_right and not r.challenger_right for r in trial.rows),
        raw_gain=sum(raw) / len(raw) if raw else 0.0,
        gain=sum(gains) / sum(weights) if gains else 0.0,
        low=_interval(bets)[0],
        high=_interval(plain)[1],
        log_wealth=wealth,
        needed=needed,
        against=quorums.log_wealth_against(plain, margin=margin, quorum=quorum),
        further_groups=quorums.groups_to_decide(
            group_bets(trial.since(since), by_row=by_row, margin=margin),
            missing=needed - wealth,
            margin=margin,
            quorum=quorum,
        ),
        audits_against=_audits_against(
            trial.since(since), margin=margin, by_row=by_row, quorum=quorum
        ),
        widened=widened(trial.since(0)) if by_row else 0,
        own=own,
        earlier=len(trial.earlier),
        since=since,
        own_audits_against=_audits_against(trial.rows, margin=margin, by_row=by_row, quorum=quorum),
        whole_weeks=whole,
    )


def levels(trial: Trial, *, margin: float, by_row: bool) -> list[tuple[float, list[Bet]]]:
    """The levels of a trial and of the earlier ones, each with the bets before the next came in."""
    by_night = bets_by_night(trial.since(0), by_row=by_row, margin=margin)
    own = [*trial.earlier, EarlierTrial(trial.alpha, trial.rows)]
    return [
        (one.alpha, [bet for night in _nights(one.rows) for bet in by_night[night]]) for one in own
    ]


def _wealth(
    trial: Trial, *, margin: float, by_row: bool, quorum: Quorum, whole_weeks: bool
) -> tuple[float, float, int, float | None]:
    """Log wealth of all levels, that of its own rows, since when, and that of whole weeks.

    They are those of that one of its own nights in which they were greatest, of those first in
    which its own rows spoke for it.
    """
    by_night = bets_by_night(trial.since(0), by_row=by_row, margin=margin)
    before = levels(trial, margin=margin, by_row=by_row)[:-1]
    among = len(quorums.speakers(row.customers for row in trial.since(0) if row.customers))
    granted, own = math.log(trial.level), list[Bet]()
    found = list[tuple[bool, float, float, float, int]]()
    nights: list[datetime | None] = [*_nights(trial.rows)]
    for night in nights or [None]:
        own += by_night[night] if night else []
        parts = [*before, (trial.alpha, list(own))]
        become, since = quorums.log_levels(parts, margin=margin, quorum=quorum)
        proof = become
        if whole_weeks:
            kept = _of_whole_weeks(trial, parts, night)
            proof, _ = quorums.log_levels(kept, margin=margin, quorum=quorum)
        alone = quorums.log_wealth(own, margin=margin, quorum=quorum, among=among)
        found.append((alone >= OWN, proof - granted, become - granted, alone, since))
    _, proof, wealth, alone, since = max(found)
    return wealth, alone, since, proof if whole_weeks else None


def _of_whole_weeks(
    trial: Trial, parts: Sequence[tuple[float, list[Bet]]], last: datetime | None
) -> list[tuple[float, list[Bet]]]:
    """The parts of a trial, without the levels that were not bet on for 7, 14, 21 ... days."""
    rows = [*(one.rows for one in trial.earlier), trial.rows]
    first = [min((row.as_of for row in of), default=None) for of in rows]
    return [
        (level if began and last and (round((last - began) / DAY) + 1) % 7 == 0 else 0.0, bets)
        for (level, bets), began in zip(parts, first, strict=True)
    ]


def _nights(rows: Iterable[FreshRow]) -> list[datetime]:
    return sorted({row.as_of for row in rows})


def _audits_against(
    rows: Sequence[FreshRow], *, margin: float, by_row: bool, quorum: Quorum
) -> float:
    """Log wealth of the bet against a challenger on audits alone; 0 where all rows are audits."""
    audits = [row for row in rows if row.probability is not None]
    if len(audits) == len(rows):
        return 0.0
    return quorums.log_wealth_against(
        group_bets(audits, by_row=by_row), margin=margin, quorum=quorum
    )


def _interval(bets: Sequence[Bet]) -> tuple[float, float]:
    gains, weights = [bet.gain for bet in bets], [bet.weight for bet in bets]
    return confidence_sequence(gains, alpha=0.05, weights=weights)
