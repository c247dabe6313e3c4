"""What the holdout is not asked for: a challenger that only one customer's rows made.

Every verdict wears the holdout (`flywheel.stats.alpha_budget`), and every new row makes a new
challenger. So one customer who sends a row a night could have the holdout asked every night, until
it can show nothing any more. As long as no more than `gate.dishonest_customers` customers sent what
came since the last question, and there are others, the night is skipped: it trains nothing, asks
nothing, and tells nothing that must be paid for. Their rows count with the next ones of anybody
else, or of the company itself; after `NIGHTS` nights the holdout is asked all the same, for the
others may be gone.
"""

from __future__ import annotations

from dataclasses import dataclass

from flywheel.config import GateConfig
from flywheel.records import Reason

RULE = "holdout_budget"
NIGHTS = 7
"""Nights after a question in which one customer alone brings about no other."""


@dataclass(frozen=True)
class Since:
    """What came since the holdout was last asked, ``nights`` nights ago (None: never).

    ``rows`` new rows are of ``customers`` named customers; ``others`` of them name none, or are the
    company's own. ``known`` customers there ever were.
    """

    nights: int | None
    rows: int
    customers: int
    others: int
    known: int


def spared(since: Since, limits: GateConfig) -> Reason | None:
    """Why the holdout is not asked tonight; None when it may be."""
    if since.nights is None or since.nights >= NIGHTS or not since.rows or since.others:
        return None
    if since.customers > limits.dishonest_customers or since.known < limits.min_evidence_customers:
        return None
    who = "one customer" if since.customers == 1 else f"{since.customers} customers"
    return Reason(
        RULE,
        None,
        f"all {since.rows} rows since the holdout was last asked came from {who} of {since.known} "
        "(gate.dishonest_customers), which spends nothing of what the holdout can show. The next "
        "row "
        f"of another customer, or a label of your own, ends the wait, and so do {NIGHTS} nights",
    )
