"""What may still be spent on a vendor, on the disk before a request is sent.

    HOME/vendors/USE_CASE/NAME.spent.jsonl    two lines for each request: set apart, given back

A process that is killed gives nothing back: what it had under way counts as billed in full.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flywheel.errors import DataError, SpendCapReached
from flywheel.vendors import jsonl

TOLERANCE = 1e-9
"""Sums of floats may pass the cap by this share of it."""


class Hold:
    """Money set apart for one request; ``price`` is what it turned out to cost."""

    def __init__(self, most: float) -> None:
        self.price = most


class Budget:
    """The cap of one vendor. Every request is covered by a hold of the most that it can cost."""

    def __init__(self, path: Path, *, cap: float) -> None:
        self.path = path
        self.cap = cap
        self.spent = math.fsum(_price(line, path) for line in jsonl.read(path))
        """With what is set apart for requests under way."""
        self._under_way = 0
        self._freed = asyncio.Condition()

    @asynccontextmanager
    async def hold(self, most: float) -> AsyncIterator[Hold]:
        """Set ``most`` apart; what the hold's price says at the end is spent, whatever happens.

        Unless the caller lowers the price, all of ``most`` counts as spent: a request that was
        given up may still be billed.

        Raises:
            SpendCapReached: the cap leaves less, also once everybody else's requests have ended.
        """
        async with self._freed:
            while not self._fits(most) and self._under_way:
                await self._freed.wait()
            if not self._fits(most):
                raise SpendCapReached(
                    f"{self.spent:.6g} of at most {self.cap:g} was spent, and the next request "
                    f"could cost {most:.6g}. It was not sent; what was answered is kept. Raise "
                    "spend_cap of the vendor to go on.",
                    spent=self.spent,
                    cap=self.cap,
                )
            self._under_way += 1
            self._book(most)
        hold = Hold(most)
        try:
            yield hold
        finally:
            self._under_way -= 1
            self._book(hold.price - most)
            async with self._freed:
                self._freed.notify_all()

    def _fits(self, most: float) -> bool:
        return self.spent + most <= self.cap * (1 + TOLERANCE)

    def _book(self, amount: float) -> None:
        if amount:
            jsonl.append(self.path, {"at": datetime.now(UTC).isoformat(), "price": amount})
            self.spent += amount


def _price(line: dict[str, Any], path: Path) -> float:
    price = line.get("price")
    if not isinstance(price, int | float) or not math.isfinite(price):
        raise DataError(f"{path} has a line without a price. Nothing was asked.")
    return float(price)
