"""Rows that wait for later nights: how many, how long that takes, and which no night looks at.

Of one customer a night takes so many rows (`flywheel.influence.row_caps`). Where more come night
after night, what waits grows without an end, and beyond the newest `curation.newest` reactions no
night looks at it. An honest big customer is met by this as a flood is; so it is said who, and what
ends it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flywheel.config import CurationConfig, Home, UseCase
from flywheel.influence import row_caps
from flywheel.influence.row_caps import own_sources
from flywheel.records import Step
from flywheel.records.findings import Finding

if TYPE_CHECKING:
    from flywheel.store import Store
    from flywheel.store.feedback.waiting_rows import Queued

RULE = "newest"
SHOWN = 3
"""Customers that are named at most."""


def step(beyond: int, rules: CurationConfig) -> Step:
    """What the night's page says of rows that no night looks at any more."""
    detail = ""
    if beyond:
        detail = (
            f"{beyond} rows that no snapshot has seen are older than the newest {rules.newest:,} "
            "(curation.newest): no night looks at them"
        )
    return Step(RULE, on=True, dropped=beyond, detail=detail)


def finding(use_case: UseCase, home: Home) -> list[Finding]:
    """What waits beside the next night, how long that takes and what ends it; often nothing."""
    from flywheel.store import open_store
    from flywheel.store.feedback import waiting_rows

    if not home.warehouse.exists():
        return []
    rules = use_case.curation
    with open_store(home.warehouse, read_only=True) as store:
        waits = []
        # what was set aside as unusual waits, too, and for a person
        if _left_over(store, use_case.name):
            waits = waiting_rows.queued(store, use_case.name, own=own_sources(rules))
        newest, gold = rules.newest, rules.gold_sources
        lost = waiting_rows.beyond(store, use_case.name, gold_sources=gold, newest=newest)
        enough = (
            waiting_rows.reaching_all(store, use_case.name, gold_sources=gold, newest=newest)
            if lost
            else 0
        )
    return [*_waiting(use_case, waits), *_lost(use_case, lost, enough)]


def _left_over(store: Store, use_case: str) -> bool:
    """Whether the last snapshot left rows of customers for later nights."""
    from flywheel.store.feedback import labeling

    last = labeling.newest_snapshot(store, use_case)
    steps = store.steps(use_case, last) if last else []
    return any(step.rule == row_caps.RULE and step.changed for step in steps)


def _waiting(use_case: UseCase, waits: Sequence[Queued]) -> list[Finding]:
    if not waits:
        return []
    most = use_case.curation.max_customer_rows
    rows = sum(one.waiting for one in waits)
    shown = "; ".join(_of(one) for one in waits[:SHOWN])
    more = f"; {len(waits) - SHOWN} more customers" if len(waits) > SHOWN else ""
    detail = (
        f"{rows:,} rows of {len(waits)} customers waited in the last night, of which each may have "
        f"{most} (curation.max_customer_rows): {shown}{more}"
    )
    grows = [one for one in waits if one.nights is None and one.came is not None]
    if grows:
        pace = math.ceil(max(one.came or 0.0 for one in grows))
        detail += (
            f". To end this, set curation.max_customer_rows to more than the {pace:,} rows that "
            "come a night, if that customer may have so much of what is learned; or send a part of "
            "them. If these are your own people, name their source in curation.trusted_sources"
        )
    return [Finding("backlog", True, detail)]


def _of(one: Queued) -> str:
    if one.came is None:
        return f"{one.waiting:,} of {one.customer}, for how long is not known before a second night"
    pace = f"{one.came:,.0f} come in a usual night and {one.taken:,} were taken in the last"
    if one.nights is None:
        return f"{one.waiting:,} of {one.customer}, where {pace}: they never end"
    return f"{one.waiting:,} of {one.customer}, where {pace}: about {one.nights} more nights"


def _lost(use_case: UseCase, beyond: int, enough: int) -> list[Finding]:
    if not beyond:
        return []
    newest = use_case.curation.newest
    detail = (
        f"{beyond:,} rows are older than the newest {newest:,} and were never looked at, nor will "
        "they be (curation.newest). To have them looked at, set it to "
        f"{enough:,} or more; a night then takes longer"
    )
    return [Finding("never looked at", True, detail)]
