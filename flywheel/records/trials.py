"""What came after a challenger was frozen: rows that two contenders are compared on, and trials."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
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
class EarlierTrial:
    """A trial before, of another challenger against the same champion, and the rows it bet on."""

    alpha: float
    rows: tuple[FreshRow, ...]


@dataclass(frozen=True)
class Trial:
    """What fresh rows say of a challenger so far: the ``number``-th trial, at level ``alpha``.

    ``canary`` are rows labeled by who had seen the challenger's answer: they can refuse it, and
    prove nothing. ``nights`` counts those that brought rows of either kind. ``left_out`` rows of
    neither were set aside: a customer had more of a night than its share. ``earlier`` are the
    trials against the same champion whose levels add up with this one's, the oldest first.
    """

    number: int
    alpha: float
    rows: tuple[FreshRow, ...] = ()
    canary: tuple[FreshRow, ...] = ()
    left_out: int = 0
    earlier: tuple[EarlierTrial, ...] = ()

    @classmethod
    def of(
        cls,
        number: int,
        alpha: float,
        rows: Iterable[FreshRow],
        *,
        earlier: Iterable[EarlierTrial] = (),
    ) -> Self:
        """A trial with its rows told from its canary's."""
        kept = tuple(rows)
        return cls(
            number,
            alpha,
            tuple(row for row in kept if row.counted and not row.is_canary),
            tuple(row for row in kept if row.is_canary),
            sum(not row.counted and not row.is_canary for row in kept),
            tuple(earlier),
        )

    @property
    def level(self) -> float:
        """Its level and those of the earlier ones, together."""
        return math.fsum([*(one.alpha for one in self.earlier), self.alpha])

    def since(self, place: int) -> tuple[FreshRow, ...]:
        """The rows of the earlier trials from the ``place``-th on (from 0), and its own."""
        return tuple(row for one in self.earlier[place:] for row in one.rows) + self.rows

    def until(self, as_of: datetime) -> Trial:
        """The trial as it stood after a night, one of an earlier trial's perhaps."""
        own = tuple(row for row in self.rows if row.as_of <= as_of)
        earlier = [
            replace(one, rows=tuple(row for row in one.rows if row.as_of <= as_of))
            for one in self.earlier
        ]
        return replace(self, rows=own, earlier=tuple(one for one in earlier if one.rows))

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
