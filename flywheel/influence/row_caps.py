"""How many rows of one customer a night takes: the rest waits for later nights, in their order.

Which ones wait is told by when they were given, before anybody looks at what they say. A row that
takes feedback back never waits. Rows without a customer, and those of the company's own people
(gold, trusted sources, queues), are nobody's flood. Nor is all that a night has of customers: an
application that says one name for all its users takes no place from anybody.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

from flywheel.config import CurationConfig
from flywheel.dataset.customer_share import most_rows
from flywheel.ingestion.labeling_queue import SOURCES
from flywheel.records import Reaction, Step

RULE = "customer_rows"


def own_sources(rules: CurationConfig) -> frozenset[str]:
    """The sources of the company's own people."""
    return frozenset({*rules.gold_sources, *rules.trusted_sources, *SOURCES})


def waiting(
    reactions: Sequence[Reaction], new: Collection[str], rules: CurationConfig
) -> tuple[frozenset[str], int]:
    """Feedback ids of ``new`` rows that wait for a later night, and of how many customers they are.

    A customer has `curation.max_customer_rows` of a night at least; more as `most_rows` tells from
    `curation.max_customer_share`.
    """
    own = own_sources(rules)
    of: dict[str, list[Reaction]] = defaultdict(list)
    others = nameless = 0
    for one in reactions:
        if one.feedback_id not in new:
            continue
        if one.customer_id and one.source not in own and one.kind != "withdraw":
            of[one.customer_id].append(one)
        else:
            others += 1
            nameless += not one.customer_id and one.source not in own
    if len(of) < 2 and not nameless:
        return frozenset(), 0
    most = max(
        rules.max_customer_rows,
        most_rows([len(rows) for rows in of.values()], others, rules.max_customer_share),
    )
    late = [
        [r.feedback_id for r in sorted(rows, key=lambda r: (r.given_at, r.feedback_id))[most:]]
        for rows in of.values()
    ]
    return frozenset(name for rows in late for name in rows), sum(map(bool, late))


def step(waits: Collection[str], customers: int, new: int) -> Step:
    """What the night's page says of them."""
    detail = ""
    if waits:
        detail = (
            f"{len(waits)} rows of {customers} customers wait for later nights "
            "(curation.max_customer_rows)"
        )
    return Step(
        RULE, on=True, seen=new, changed=len(waits), detail=detail, example=min(waits, default=None)
    )
