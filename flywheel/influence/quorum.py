"""Whose rows may decide: those of several customers, and never of one of them alone.

Rows of customers are evidence where `gate.evidence_sources` names their source. Who holds a key can
send as many as they like, and say of each what speaks for one contender. Three things bound that:

- **A share.** Of one night no customer counts for more than `gate.max_evidence_share` of the bets,
  or for as many as the second loudest, where customers are too few for that share (`counted`).
- **A quorum.** Until rows of `gate.min_evidence_customers` customers came, those of customers speak
  against a gain and not for it. The company's own rows (gold, trusted sources, audits) need nobody.
- **Left out.** Wealth is what is left without those `gate.dishonest_customers` customers, or
  `gate.dishonest_share` of all, who bring most of it, whoever they are. For each stake of its own
  the sum of what they won is taken off.

**Why the guarantee stays.** Which bets of a night count is told by how many each customer has and
by a hash of their names, before anybody looks at who was right; so each counted bet is a fair one
where the challenger is no better, and the counted bets' wealth is a supermartingale as before. The
gain that it asks for is the mean over counted bets. Of that wealth only winnings are taken away,
never losses: what is left is at no time more than the wealth was. So it reaches ``1 / alpha`` with
at most chance ``alpha``, whoever is honest. Let now any customers, at most as many as are left out,
say what they like of as many rows as they like. What is left is at most the wealth without their
rows: taking off the largest winnings takes off at least theirs, stake by stake. Without their rows
wealth is that of the honest, a supermartingale as long as those are fair bets. So the chance stays
at most ``alpha`` against them too, whatever they know of earlier nights. By default that is one
customer and no share, for a share of very many customers with a row each is a gain that honest ones
could have just as well; ``python -m benchmarks.dishonest`` says what it costs and what it holds.

The same is asked of what refuses: a trial's challenger is worse, a champion is worse than its
predecessor, a canary fares worse (`confidence_sequence`) only where that shows without them.

A row on which several customers spoke is won by each of them, and lost by none that is left out.
Whoever speaks on others' rows must not choose them by who was right there; where keys are
customers', nobody sees or answers what others asked.

**Who is a customer.** Who the feedback names, which is who holds the key where keys are customers'.
All rows without a name are one customer together. Where no row has a name, nobody can be told from
anybody: then nothing is left out, none is needed, and the page says so. An application that sends
no ids can promote, and all its users are trusted.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from flywheel.config import GateConfig
from flywheel.records import Trial
from flywheel.stats.e_process import STAKES, Bet, edge, mean_wealth, stake_of

UNKNOWN = ""
"""The customer of a row that names none."""


@dataclass(frozen=True)
class Quorum:
    """How many customers a verdict needs, how many of them may lie, and the share of a night.

    ``dishonest`` is a number, ``dishonest_share`` in [0, 1) one of all customers; the greater of
    both counts. ``share`` is in (0, 1].
    """

    customers: int = 3
    dishonest: int = 1
    dishonest_share: float = 0.0
    share: float = 0.2

    @classmethod
    def of(cls, limits: GateConfig) -> Quorum:
        return cls(
            customers=limits.min_evidence_customers,
            dishonest=limits.dishonest_customers,
            dishonest_share=limits.dishonest_share,
            share=limits.max_evidence_share,
        )

    def left_out(self, customers: int) -> int:
        """How many of so many customers' winnings do not count."""
        if customers < self.customers:
            return customers
        return min(customers, max(self.dishonest, math.floor(self.dishonest_share * customers)))


SHIPPED = Quorum()
"""As use cases have it that do not say otherwise."""


def speakers(every: Iterable[Iterable[str]]) -> frozenset[str]:
    """The customers that can be told apart; none where no row names one."""
    found = frozenset(name for names in every for name in names)
    return frozenset() if found == {UNKNOWN} else found


# ---- A share of a night


def counted(units: Mapping[str, frozenset[str]], *, share: float, night: str) -> set[str]:
    """The units of a night that are bet on; ``units`` is unit → the customers who spoke on it.

    Which ones are left out is told by a hash, and so by nothing that anybody knows of them.
    """
    known = speakers(units.values())
    if not known:
        return set(units)
    counts = Counter(name for names in units.values() for name in names)
    most = most_units(list(counts.values()), sum(not names for names in units.values()), share)
    kept, used = set[str](), Counter[str]()
    for unit in sorted(units, key=lambda unit: _order(night, unit)):
        if all(used[name] < most for name in units[unit]):
            used.update(units[unit])
            kept.add(unit)
    return kept


def most_units(counts: Sequence[int], own: int, share: float) -> int:
    """How many units of a night one customer may have, at least 1.

    ``counts`` are those of each customer, ``own`` those of the company itself. It is the greatest
    number that is no more than ``share`` of all that then count, or the second greatest that
    anybody has. Who is alone has all.
    """
    everybody = sorted([*counts, *([own] if own else [])])
    if len(everybody) < 2:
        return max(everybody, default=1)
    low, high = 0, everybody[-1]
    # what is over the share grows with the number once it does
    while low < high:
        middle = (low + high + 1) // 2
        fits = middle <= share * (own + sum(min(count, middle) for count in counts))
        low, high = (middle, high) if fits else (low, middle - 1)
    return max(low, everybody[-2], 1)


def _order(night: str, unit: str) -> bytes:
    return hashlib.sha256(f"{night}\x1f{unit}".encode("utf-8", "surrogatepass")).digest()


def speaking_for(counts: Mapping[str, int], own: int, quorum: Quorum) -> int:
    """How many units can speak for a gain, of ``own`` ones and ``counts`` of each customer.

    At most so many: those of who is left out bring nothing, and nobody has more than a share.
    """
    if not speakers([counts]):
        return own + sum(counts.values())
    most = most_units(list(counts.values()), own, quorum.share)
    kept = sorted(min(count, most) for count in counts.values())
    return own + sum(kept[: len(kept) - quorum.left_out(len(kept))])


# ---- Wealth without some


def log_wealth(bets: Sequence[Bet], *, margin: float, quorum: Quorum, among: int = 0) -> float:
    """Natural logarithm of the wealth without those customers who bring most of it.

    ``among`` customers can be told apart where these bets are a part of more: as many are left out
    as of all of them.
    """
    return mean_wealth(_Tally(margin).add(bets).logs(quorum, among=among))


def log_levels(
    parts: Sequence[tuple[float, Sequence[Bet]]], *, margin: float, quorum: Quorum
) -> tuple[float, int]:
    """What levels that are bet one after another have become: its logarithm, and who has most.

    ``parts`` are a level in (0, 1] and the bets before the next level comes in, the oldest first:
    each level is bet on its own part and on all after it. What they have become together is a
    supermartingale as wealth is, so that it reaches 1 with at most the chance that the levels add
    up to. The second number is the place of the level that has become most. A level of 0 counts for
    nothing, though earlier ones are bet on its part; without any other all is -inf. As many
    customers are left out of each as of all parts together.
    """
    tally, found = _Tally(margin), list[float]()
    among = len(speakers(bet.customers for _, bets in parts for bet in bets))
    for level, bets in reversed(parts):
        become = mean_wealth(tally.add(bets).logs(quorum, among=among))
        found.append(math.log(level) + become if level else -math.inf)
    found.reverse()
    top = max(found)
    if top == -math.inf:
        return top, len(found) - 1
    return top + math.log(math.fsum(math.exp(one - top) for one in found)), found.index(top)


def log_wealth_against(bets: Sequence[Bet], *, margin: float, quorum: Quorum) -> float:
    """As `log_wealth`, betting that the gain is under ``margin``."""
    turned = [Bet(-bet.gain, bet.customers, bet.weight) for bet in bets]
    return log_wealth(turned, margin=-margin, quorum=quorum)


def confidence_sequence(
    bets: Sequence[Bet], *, alpha: float, quorum: Quorum
) -> tuple[float, float]:
    """As `e_process.confidence_sequence`, each end without those who move it most."""
    limit = math.log(2 / alpha)
    low = edge(lambda m: log_wealth(bets, margin=m, quorum=quorum) >= limit)
    high = -edge(lambda m: log_wealth_against(bets, margin=-m, quorum=quorum) >= limit)
    return low, high


def groups_to_decide(
    bets: Sequence[Bet], *, missing: float, margin: float, quorum: Quorum
) -> int | None:
    """Estimate how many further groups bring log wealth by ``missing`` further, if all goes on so.

    None when wealth does not grow without those who are left out; 0 when it is there.
    """
    if missing <= 0:
        return 0
    growth = max(_Tally(margin).add(bets).logs(quorum)) / len(bets) if bets else 0.0
    return math.ceil(missing / growth) if growth > 0 else None


class _Tally:
    """The logs of what each stake is worth, and what each customer won of them."""

    def __init__(self, margin: float) -> None:
        self._margin = margin
        self._stakes = np.array([stake_of(stake, margin) for stake in STAKES])
        self._sums = np.zeros(len(STAKES))
        self._number: dict[str, int] = {}
        self._won = np.zeros((64, len(STAKES)))

    def add(self, bets: Sequence[Bet]) -> Self:
        """Count further bets; their order does not matter."""
        values = np.array([bet.gain - self._margin * bet.weight for bet in bets], dtype=np.float64)
        each = np.log1p(np.outer(values, self._stakes))
        self._sums = self._sums + each.sum(axis=0)
        whose, which = list[int](), list[int]()
        for place, bet in enumerate(bets):
            for name in bet.customers:
                whose.append(self._number.setdefault(name, len(self._number)))
                which.append(place)
        while len(self._won) < len(self._number):
            self._won = np.concatenate([self._won, np.zeros_like(self._won)])
        if whose:
            shared = np.array([len(bet.customers) > 1 for bet in bets])
            # who shares a bet wins it, and loses none that is left out
            won = np.where(shared[:, None], np.maximum(0.0, each), each)
            np.add.at(self._won, whose, won[which])
        return self

    def logs(self, quorum: Quorum, *, among: int = 0) -> list[float]:
        """For each stake the log of what it is worth, less what those who are left out won.

        ``among`` as in `log_wealth`; who names nobody is one of them.
        """
        here = len(self._number if among else speakers([self._number]))
        left_out = max(quorum.left_out(here), quorum.left_out(max(among, here)))
        if not (here and left_out):
            return [float(one) for one in self._sums]
        won = self._won[: len(self._number)]
        if left_out < len(won):
            won = np.partition(won, len(won) - left_out, axis=0)[len(won) - left_out :]
        return [float(one) for one in self._sums - np.maximum(0.0, won).sum(axis=0)]


# ---- In words


def in_words(trial: Trial, quorum: Quorum, *, alpha: float) -> str:
    """What is assumed of whose rows these are; empty where all are the company's own."""
    rows = [row for row in trial.since(0) if row.customers]
    parts = []
    if trial.left_out:
        parts.append(
            f"{trial.left_out} further rows were set aside, as one customer may have "
            f"{quorum.share:.0%} of a night (gate.max_evidence_share)"
        )
    names = speakers(row.customers for row in rows)
    if rows and not names:
        parts.append(
            f"no customer is known (customer_id), so the {alpha:.0%} assumes that all who sent "
            f"{len(rows)} of the rows are honest"
        )
    elif rows:
        parts.append(_of_known(len(names), UNKNOWN in names, quorum, alpha=alpha))
    return "; ".join(parts)


def short_of_customers(customers: int, quorum: Quorum) -> str:
    """What would end it that rows of so few customers prove no gain; empty where they are enough.

    ``customers`` is 0 where none can be told from another.
    """
    if customers == 0 or quorum.left_out(customers) < customers:
        return ""
    needed = max(quorum.customers, quorum.dishonest + 1)
    lower = f"gate.min_evidence_customers: {customers}"
    if quorum.dishonest >= customers:
        lower += f" and gate.dishonest_customers: {customers - 1}"
    return (
        f"of {customers} customer{'s' * (customers != 1)}, whose rows alone can never prove a "
        f"gain: that takes {needed} (gate.min_evidence_customers, gate.dishonest_customers). What "
        "ends this: reactions of more customers, each named in customer_id; labels of your own "
        "people (flywheel queue --audit-share 1), which need no customer; or, where you have no "
        f"more customers and trust them, {lower}"
    )


def _of_known(customers: int, unnamed: bool, quorum: Quorum, *, alpha: float) -> str:
    rows = f"rows of {customers} customer{'s' * (customers != 1)}"
    if unnamed:
        rows += " (all without a customer_id are one)"
    if customers < quorum.customers:
        return (
            f"{rows}; they count for a gain once {quorum.customers} customers sent rows "
            "(gate.min_evidence_customers)"
        )
    left_out = quorum.left_out(customers)
    if not left_out:
        return f"{rows}, all taken for honest by the {alpha:.0%} (gate.dishonest_customers)"
    return (
        f"{rows}; wealth counts without the {left_out} who add most to it, so that the "
        f"{alpha:.0%} holds if at most {left_out} of {customers} ({left_out / customers:.0%}) are "
        "dishonest (gate.dishonest_customers, gate.dishonest_share)"
    )
