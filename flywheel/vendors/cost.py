"""What a thousand answers cost, bought and made.

A bought answer costs its tokens. One that is made costs a machine that runs all day, whether it is
asked or not, at the throughput that was measured and never at the load that was offered.
Prices are in the currency of the use case.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flywheel.config import VendorConfig
from flywheel.vendors import chat_requests
from flywheel.vendors.reply_cache import Answer

DAY_MS = 86_400_000.0
HOURS = 24


@dataclass(frozen=True)
class Machine:
    """What makes our answers: its cost per hour, and the milliseconds that it took per answer."""

    cost_per_hour: float
    ms_per_answer: float

    @property
    def per_day(self) -> float:
        """Answers a day at the measured throughput, when it is busy all day."""
        return DAY_MS / self.ms_per_answer

    @property
    def busy_price(self) -> float:
        """Of a thousand answers when it is busy all day: the least that they can cost."""
        return self.price(self.per_day)

    def price(self, per_day: float) -> float:
        """Of a thousand answers at this many a day, with the idle time, on as many as it takes."""
        machines = math.ceil(per_day / self.per_day)
        return 1_000 * HOURS * self.cost_per_hour * machines / per_day

    def break_even(self, price: float) -> float | None:
        """Answers a day from which one machine is cheaper than buying at this price per thousand.

        None where buying is cheaper even when the machine is busy all day. One that is full needs
        another, which has a break-even of its own.
        """
        if price < self.busy_price:
            return None
        return 1_000 * HOURS * self.cost_per_hour / price


def price_per_thousand(vendor: VendorConfig, answers: Sequence[Answer]) -> float | None:
    """What these answers would cost at today's prices, per thousand texts; None without any.

    Abstentions are answers that are paid for. Tries that failed are not in it.
    """
    if not answers:
        return None
    costs = (chat_requests.price(vendor, a.input_tokens, a.output_tokens) for a in answers)
    return 1_000 * math.fsum(costs) / len(answers)


def machine(cost_per_hour: float | None, ms_per_answer: float | None) -> Machine | None:
    """None where the cost or the throughput is not known."""
    if cost_per_hour is None or not ms_per_answer:
        return None
    return Machine(cost_per_hour, ms_per_answer)


def made(own: Machine | None, per_day: float | None) -> dict[str, Any]:
    """What ours cost: None where the machine, or how much is asked, is not known."""
    return {
        "ms_per_answer": own and own.ms_per_answer,
        "capacity_per_day": own and own.per_day,
        "busy_price": own and own.busy_price,
        "price": own.price(per_day) if own and per_day else None,
    }


def bought(price: float | None, own: Machine | None, per_day: float | None) -> dict[str, Any]:
    """What theirs cost at ``price`` per thousand, and from how many a day ours are cheaper.

    ``never_cheaper_to_make`` is None where that is not known, as is ``break_even_per_day``.
    """
    known = own is not None and price is not None
    even = own.break_even(price) if own is not None and price is not None else None
    return {
        "price": price,
        "per_day": price * per_day / 1_000 if price is not None and per_day else None,
        "break_even_per_day": even,
        "never_cheaper_to_make": even is None if known else None,
    }
