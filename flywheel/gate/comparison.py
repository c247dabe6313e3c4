"""Two contenders on the same rows: on the holdout, and on rows that were labeled afterwards.

The rows of one group may depend on each other, so that groups are what is counted: a customer whose
twelve sentences all went better is one piece of luck.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from flywheel.config import GateConfig
from flywheel.influence import quorum as quorums
from flywheel.influence.quorum import SHIPPED, Quorum
from flywheel.records import EarlierTrial, FreshRow, Report, Row, Trial
from flywheel.stats.e_process import (
    Bet,
    bets_by_night,
    confidence_sequence,
    group_bets,
    group_gains,
    groups_to_decide,
    widened,
)
from flywheel.stats.paired_tests import (
    excess_p_value,
    labels_to_decide,
    paired_difference_interval,
    sign_flip_p_value,
)

DAY = timedelta(days=1)
FUTILE = math.log(20)
"""Log wealth of the bet against a challenger that ends its trial: it is worse, at 5 %."""
OWN = math.log(2)
"""Log wealth that a challenger's own rows must bring, whatever others showed before it."""


@dataclass(frozen=True)
class Pair:
    """One row that both answered: ``gain`` 1 when the challenger did better, -1 the champion."""

    group_id: str
    source: str
    gain: int
    unit: str
    """What it is one piece of evidence with: its group, or nothing but itself (`gate.unit`)."""
    customers: tuple[str, ...] = ()
    """As in `flywheel.records.FreshRow`."""
    cluster: str = ""
    """As in `flywheel.records.Row`."""
    name: str = ""
    """Of its row: by a hash of it a group's row is picked where one must do."""


@dataclass(frozen=True)
class Paired:
    """What all pairs say together. ``p_value`` is one-sided, for a gain over the margin.

    ``gain``, ``low`` and ``high`` are differences of accuracy in [-1, 1], the interval at 95 %.
    """

    rows: int
    wins: int
    losses: int
    gain: float
    low: float
    high: float
    p_value: float


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

        Its own rows must speak for it (`OWN`), and audits alone not against. Audits are drawn from
        all requests; other rows are from whoever reacted.
        """
        wealth = self.log_wealth if self.whole_weeks is None else self.whole_weeks
        enough = wealth >= self.needed and self.own >= OWN
        return enough and self.audits_against < FUTILE

    @property
    def refuted(self) -> bool:
        """Whether the challenger is worse, on all of its rows or on those that were drawn."""
        return max(self.against, self.own_audits_against) >= FUTILE


@dataclass(frozen=True)
class Arm:
    """How often one version was right where its answers were shown.

    ``share`` in [0, 1] is the mean over groups; None without any. (``low``, ``high``) holds it at
    all times, each end without the ``left_out`` customers of ``customers`` who move it most.
    Customers are 0 where none can be told from another; ``own`` groups are the company's own.
    """

    groups: int
    share: float | None
    low: float
    high: float
    own: int = 0
    customers: int = 0
    left_out: int = 0


@dataclass(frozen=True)
class Arms:
    """A canary: different groups were shown different versions."""

    challenger: Arm
    champion: Arm

    @property
    def groups(self) -> int:
        """Groups in the smaller arm."""
        return min(self.challenger.groups, self.champion.groups)

    @property
    def worse(self) -> bool:
        """Whether the challenger is proven worse."""
        return self.challenger.high < self.champion.low


def on_holdout(
    challenger: Report,
    champion: Report,
    rows: Mapping[str, Row],
    *,
    by_row: bool,
    tie_within: float,
) -> list[Pair]:
    """Pair the reports by row; a row that is not in ``rows`` is a group of its own."""
    theirs = dict(zip(champion.example_ids, champion.row_scores, strict=True))
    pairs = []
    for name, ours in zip(challenger.example_ids, challenger.row_scores, strict=True):
        row = rows.get(name)
        group, source = (row.group_id, row.source) if row else (name, "")
        gain = won(ours, theirs[name], tie_within=tie_within)
        cluster = row.cluster_id if row else ""
        unit = name if by_row else group
        pairs.append(Pair(group, source, gain, unit, cluster=cluster or name, name=name))
    return pairs


def won(ours: float, theirs: float, *, tie_within: float) -> int:
    """1 when ``ours`` is better than ``theirs``, -1 when it is worse, 0 when they tie.

    Marks are in [0, 1]; a difference of no more than ``tie_within``, which is under 1, is a tie.
    """
    difference = ours - theirs
    if abs(difference) <= tie_within:
        return 0
    return 1 if difference > 0 else -1


def on_fresh_rows(trial: Trial, *, since: int = 0) -> list[Pair]:
    """The pairs of a trial's rows, and of earlier ones from the trial ``since`` on."""
    return [
        Pair(
            row.group_id,
            row.source,
            row.challenger_right - row.champion_right,
            row.group_id,
            row.customers,
        )
        for row in trial.since(since)
    ]


def paired(pairs: Sequence[Pair], *, margin: float = 0.0) -> Paired:
    """Count what both won and lost, and how likely it is to be luck.

    The p-value is the greatest of those that rows are pieces of evidence by: their unit, their
    group where that is another, and what they are almost alike to.
    """
    wins, losses = sum(p.gain > 0 for p in pairs), sum(p.gain < 0 for p in pairs)
    low, high = paired_difference_interval(wins, losses, len(pairs))
    return Paired(
        rows=len(pairs),
        wins=wins,
        losses=losses,
        gain=(wins - losses) / len(pairs) if pairs else 0.0,
        low=low,
        high=high,
        p_value=max(_p_values(pairs, margin)),
    )


def _p_values(pairs: Sequence[Pair], margin: float) -> Iterator[float]:
    yield _of_groups(pairs, lambda pair: pair.unit, margin=margin)
    if any(pair.cluster for pair in pairs):
        yield _of_groups(pairs, lambda pair: pair.cluster, margin=margin)
    if any(pair.unit != pair.group_id for pair in pairs):
        # rows by themselves are as sure as their groups are, if those could be exchanged
        gains, sizes, _ = _sums(pairs, lambda pair: pair.group_id)
        yield excess_p_value(gains, sizes, margin=margin) if margin else sign_flip_p_value(gains)


def _of_groups(pairs: Sequence[Pair], key: Callable[[Pair], str], *, margin: float) -> float:
    gains, sizes, picks = _sums(pairs, key)
    return excess_p_value(gains, sizes, margin=margin, picks=picks)


def worse_p_value(pairs: Sequence[Pair], *, margin: float = 0.0) -> float:
    """Chance of losses this large if the true one were at most ``margin``: one-sided, in (0, 1]."""
    turned = [replace(one, gain=-one.gain) for one in pairs]
    return _of_groups(turned, lambda pair: pair.unit, margin=margin)


def further_rows(pairs: Sequence[Pair], *, alpha: float, margin: float) -> int | None:
    """How many further holdout rows would decide, if the gain is real; None when none would.

    As many as the p-value that is last to fall asks for: that of rows, and where rows go together
    those of what they go together in (`paired`).
    """
    wins, losses = sum(p.gain > 0 for p in pairs), sum(p.gain < 0 for p in pairs)
    found = [labels_to_decide(wins, losses, len(pairs), alpha=alpha)]
    keys: list[Callable[[Pair], str]] = [lambda pair: pair.unit]
    if any(pair.cluster for pair in pairs):
        keys.append(lambda pair: pair.cluster)
    for key in keys:
        gains, sizes, picks = _sums(pairs, key)
        if margin or any(size > 1 for size in sizes):
            shares = [gain / size for gain, size in zip(gains, sizes, strict=True)]
            units = _further_groups(shares, picks, alpha=alpha, margin=margin)
            found.append(None if units is None else math.ceil(units * len(pairs) / len(shares)))
    numbers = [number for number in found if number is not None]
    return max(numbers) if len(numbers) == len(found) else None


def _further_groups(
    shares: Sequence[float], picks: Sequence[int], *, alpha: float, margin: float
) -> int | None:
    """How many further groups would decide, by whichever test of `excess_p_value` needs fewer."""
    if margin:
        return groups_to_decide(shares, alpha=alpha, margin=margin)
    wins, losses = sum(pick > 0 for pick in picks), sum(pick < 0 for pick in picks)
    tests = (
        groups_to_decide(shares, alpha=alpha / 2),
        labels_to_decide(wins, losses, len(picks), alpha=alpha / 2),
    )
    return min((number for number in tests if number is not None), default=None)


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
        alone = quorums.log_wealth(own, margin=margin, quorum=quorum)
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


def canary(trial: Trial, *, alpha: float, quorum: Quorum = SHIPPED) -> Arms:
    """Compare the groups that were shown the challenger's answers with those shown the champion's.

    Each arm has its own interval, valid at all times and at ``alpha / 2``: where they do not
    overlap, the shares differ, and to be wrong in that ever has at most chance ``alpha``, whatever
    those customers say that ``quorum`` leaves out of each arm. A group counts once a night, as in a
    trial. Who reacts to an answer leans towards it, on either side:
    shares are compared, never labels of one arm used for the other.
    """
    ours = [(row, row.challenger_right) for row in trial.canary]
    theirs = [(row, row.champion_right) for row in trial.rows if row.shown == "champion"]
    return Arms(
        challenger=_arm(ours, alpha=alpha / 2, quorum=quorum),
        champion=_arm(theirs, alpha=alpha / 2, quorum=quorum),
    )


def _arm(outcomes: Iterable[tuple[FreshRow, bool]], *, alpha: float, quorum: Quorum) -> Arm:
    found: dict[tuple[object, str], list[tuple[FreshRow, bool]]] = defaultdict(list)
    for row, right in outcomes:
        found[row.as_of, row.group_id].append((row, right))
    shares = {key: sum(right for _, right in of) / len(of) for key, of in found.items()}
    # bets are made on [-1, 1]; in an order that the order of rows does not change
    bets = [
        Bet(2 * shares[key] - 1, frozenset(name for row, _ in found[key] for name in row.customers))
        for key in sorted(found, key=str)
    ]
    low, high = quorums.confidence_sequence(bets, alpha=2 * alpha, quorum=quorum)
    customers = len(quorums.speakers(bet.customers for bet in bets))
    return Arm(
        groups=len({group for _, group in shares}),
        share=math.fsum(shares.values()) / len(shares) if shares else None,
        low=(low + 1) / 2,
        high=(high + 1) / 2,
        own=len(
            {
                group
                for (_, group), bet in zip(sorted(found, key=str), bets, strict=True)
                if not bet.customers
            }
        ),
        customers=customers,
        left_out=quorum.left_out(customers) if customers else 0,
    )


def gain_without(pairs: Sequence[Pair], key: Callable[[Pair], str]) -> tuple[float, int] | None:
    """The gain without the rows of whoever gains most, and how many rows those are.

    None when all rows have the same ``key``: then there is nothing to leave out.
    """
    rows: dict[str, list[int]] = defaultdict(list)
    for pair in pairs:
        rows[key(pair)].append(pair.gain)
    if len(rows) < 2:
        return None
    total, count = sum(pair.gain for pair in pairs), len(pairs)
    return min(((total - sum(gains)) / (count - len(gains)), len(gains)) for gains in rows.values())


def made_by_one(pairs: Sequence[Pair], key: Callable[[Pair], str], *, margin: float) -> str | None:
    """Who makes the gain alone, in words; None where the other rows do not show that.

    They show it where they gain no more than ``margin``, and the upper end of their 95 % interval
    is below what they are compared with. Few rows show nothing.
    """
    rows: dict[str, list[int]] = defaultdict(list)
    for pair in pairs:
        rows[key(pair)].append(pair.gain)
    for own in sorted(rows):
        others = [gain for name, gains in rows.items() if name != own for gain in gains]
        if not others:
            continue
        theirs, gain = sum(rows[own]) / len(rows[own]), sum(others) / len(others)
        wins, losses = sum(one > 0 for one in others), sum(one < 0 for one in others)
        _, high = paired_difference_interval(wins, losses, len(others))
        if gain <= margin and high < theirs:
            return (
                f"{100 * gain:+.1f} points on {len(others)} other rows, at most {100 * high:+.1f}"
            )
    return None


def gain_without_customer(pairs: Sequence[Pair]) -> tuple[float, int] | None:
    """As `gain_without`, of all rows on which the customer spoke who gains most.

    None when no row names a customer, or all rows are of the only one.
    """
    names = quorums.speakers(pair.customers for pair in pairs)
    if len(names) == 1 and all(pair.customers for pair in pairs):
        return None
    left = [[pair.gain for pair in pairs if name not in pair.customers] for name in names]
    found = [(sum(gains) / len(gains) if gains else 0.0, len(pairs) - len(gains)) for gains in left]
    return min(found, default=None)


def _order(pair: Pair) -> bytes:
    """By a hash, lest the order of names has to do with how hard rows are."""
    return hashlib.sha256(pair.name.encode("utf-8", "surrogatepass")).digest()


def _sums(
    pairs: Iterable[Pair], key: Callable[[Pair], str]
) -> tuple[list[int], list[int], list[int]]:
    """What the rows of each ``key`` won less what they lost, how many there are, and one's gain."""
    rows: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        rows[key(pair)].append(pair)
    return (
        [sum(pair.gain for pair in of) for of in rows.values()],
        [len(of) for of in rows.values()],
        [min(of, key=_order).gain for of in rows.values()],
    )
