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

from flywheel.influence import quorum as quorums
from flywheel.records import Report, Row, Trial
from flywheel.stats.e_process import (
    groups_to_decide,
)
from flywheel.stats.paired_tests import (
    excess_p_value,
    labels_to_decide,
    paired_difference_interval,
    sign_flip_p_value,
)


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
