"""Groups that were shown different versions, compared by how often each was right.

Who reacts to an answer leans towards it, on either side: shares are compared, never labels of one
arm used for the other. A canary can refuse a challenger, and proves nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from flywheel.influence import quorum as quorums
from flywheel.influence.quorum import SHIPPED, Quorum
from flywheel.records import FreshRow, Trial
from flywheel.stats.e_process import Bet


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


def compare(trial: Trial, *, alpha: float, quorum: Quorum = SHIPPED) -> Arms:
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
