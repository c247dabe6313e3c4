"""Who has how much of what is drawn: of a flood no more than a share.

A customer who sends ten thousand texts would have nearly every audit, and the holdout would be of
that customer's texts. So of each customer as many texts are drawn from as a share allows, chosen by
chance; the rest of the flood is not drawn from. A text without a customer is nobody's flood.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Mapping

from flywheel.dataset.customer_share import most_rows


def within_share(customers: Mapping[str, str | None], share: float, *, seed: str) -> list[str]:
    """The items that are drawn from, by name; ``customers`` is item → whose it is, None: nobody's.

    All of them where no customer has more than `most_rows` of them.
    """
    of: dict[str, list[str]] = defaultdict(list)
    for item, customer in customers.items():
        if customer is not None:
            of[customer].append(item)
    nobodys = sorted(item for item, customer in customers.items() if customer is None)
    most = most_rows([len(items) for items in of.values()], len(nobodys), share)
    chance = random.Random(f"share:{seed}")
    kept = [chance.sample(sorted(items), min(most, len(items))) for _, items in sorted(of.items())]
    return sorted([*nobodys, *(item for items in kept for item in items)])


def spread(customers: Mapping[str, str | None], wanted: int, *, seed: str) -> list[str]:
    """Draw ``wanted`` items, each with the same chance, spread evenly over the customers.

    Systematic sampling from a list in which a customer's items stand together, in an order of
    chance: a customer with a share of the items has that share of the draw, but for one item.
    """
    chance = random.Random(seed)
    order = sorted(customers)
    chance.shuffle(order)
    order.sort(key=lambda item: customers[item] or "")
    if not wanted:
        return []
    step = len(order) / wanted
    start = chance.random() * step
    return [order[min(len(order) - 1, int(start + n * step))] for n in range(wanted)]


class Shares:
    """Counts what each of so many customers has of a queue of ``size`` lines.

    As in `flywheel.dataset.customer_share`, a ``share`` of them together have that share of the
    lines; at least one line each.
    """

    def __init__(self, size: int, share: float, customers: int) -> None:
        together = max(1, int(share * customers))
        self._most = size if share == 1 else max(1, int(share * size / together))
        self._has: Counter[str] = Counter()

    def allows(self, customer: str | None) -> bool:
        """Whether a customer may have one more line."""
        return customer is None or self._has[customer] < self._most

    def add(self, customer: str | None) -> None:
        """A customer has one more."""
        if customer is not None:
            self._has[customer] += 1
