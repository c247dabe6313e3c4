"""What came after a challenger was frozen: rows that two contenders are compared on, and trials."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Self

Contestant = Literal["champion", "challenger"]


@dataclass(frozen=True)
class FreshRow:
    """A row labeled after both contenders were frozen, and who got it right, in night ``as_of``.

    ``probability`` as in `Row`. ``shown`` is whose answer those who labeled it had seen; None
    where they saw neither's. ``recorded``: judged by the answers recorded in serving, not by
    asking again. ``differs``: whether a recorded answer was not what was measured; None where none
    was recorded. ``customers`` are those who spoke on it, an empty name where none is known; none
    where only the company's own people did. ``counted``: whether it is bet on; what one customer
    has beyond its share of a night is not. ``won_weight`` and ``lost_weight`` in [0, 1] are what it
    counts for where the challenger won or lost it (`flywheel.gate.coverage`).
    """

    as_of: datetime
    example_id: str
    group_id: str
    source: str
    challenger_right: bool
    champion_right: bool
    probability: float | None = None
    shown: Contestant | None = None
    recorded: bool = False
    differs: bool | None = None
    customers: tuple[str, ...] = ()
    counted: bool = True
    won_weight: float = 1.0
    lost_weight: float = 1.0

    @property
    def is_canary(self) -> bool:
        """Whether the challenger's answer was seen: that speaks for it, and is no evidence."""
        return self.shown == "challenger"


@dataclass(frozen=True)
class Trial:
    """What fresh rows say of a challenger so far: the ``number``-th trial, at level ``alpha``.

    ``canary`` are rows labeled by who had seen the challenger's answer: they can refuse it, and
    prove nothing. ``nights`` counts those that brought rows of either kind. ``left_out`` rows of
    neither were set aside: a customer had more of a night than its share.
    """

    number: int
    alpha: float
    rows: tuple[FreshRow, ...] = ()
    canary: tuple[FreshRow, ...] = ()
    left_out: int = 0

    @classmethod
    def of(cls, number: int, alpha: float, rows: Iterable[FreshRow]) -> Self:
        """A trial with its rows told from its canary's."""
        kept = tuple(rows)
        return cls(
            number,
            alpha,
            tuple(row for row in kept if row.counted and not row.is_canary),
            tuple(row for row in kept if row.is_canary),
            sum(not row.counted and not row.is_canary for row in kept),
        )

    @property
    def recorded(self) -> dict[str, int]:
        """How many rows recorded answers judge: of the shadow, and of the canary."""
        return {
            "shadow": sum(row.recorded for row in self.rows),
            "canary": sum(row.recorded for row in self.canary),
        }

    @property
    def nights(self) -> int:
        return len({row.as_of for row in (*self.rows, *self.canary)})
