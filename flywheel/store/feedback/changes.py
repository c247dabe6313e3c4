"""What the newest snapshot learned from, what came since, and whether a person looked at it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from flywheel.gate.holdout_budget import Since
from flywheel.influence.unusual_feedback import Learned
from flywheel.store.feedback import customers
from flywheel.store.migrations import transaction
from flywheel.store.warehouse import Store

_LEARNED = """
SELECT example_id, label, feedback_ids
FROM snapshot_rows
WHERE use_case = $use_case AND snapshot_id = $snapshot AND split = 'train'
"""
_LOOK_AT = "INSERT OR REPLACE INTO looked_at VALUES ($use_case, $snapshot, $at, $who)"
_LOOKED_AT = """
SELECT count(*) > 0
FROM looked_at
WHERE use_case = $use_case AND snapshot_id = $snapshot
"""
_UNSEEN = f"""
SELECT {customers.customer()}, f.source, f.value, count(*)
FROM feedback AS f
{customers.REQUEST}
WHERE
    f.use_case = $use_case
    AND f.seq IS NOT NULL
    AND f.feedback_key NOT IN (SELECT feedback_key FROM consumed WHERE use_case = $use_case)
GROUP BY ALL
"""
_SINCE_ASKED = f"""
WITH asked AS (
    SELECT max(as_of) AS moment FROM questions WHERE use_case = $use_case AND alpha IS NOT NULL
),
came AS (
    SELECT {customers.customer()} AS customer, f.source
    FROM consumed AS c
    JOIN feedback AS f
        ON
            f.use_case = c.use_case
            AND f.feedback_key = c.feedback_key
            AND f.feedback_id = c.feedback_id
    {customers.REQUEST}
    WHERE c.use_case = $use_case AND c.consumed_at > (SELECT moment FROM asked)
)
SELECT
    (
        SELECT count(*)
        FROM nights
        WHERE use_case = $use_case AND outcome <> 'failed' AND as_of > (SELECT moment FROM asked)
    ),
    (SELECT count(*) FROM came),
    (SELECT count(DISTINCT customer) FROM came WHERE NOT list_contains($own, source)),
    (SELECT count(*) FROM came WHERE customer IS NULL OR list_contains($own, source)),
    greatest(
        (SELECT count(DISTINCT customer_id) FROM feedback WHERE use_case = $use_case),
        (SELECT count(DISTINCT customer_id) FROM predictions WHERE use_case = $use_case)
    ),
    (SELECT moment IS NULL FROM asked)
"""


def learned(store: Store, use_case: str, snapshot_id: str) -> list[Learned]:
    """The training rows of a snapshot."""
    rows = store.rows(_LEARNED, {"use_case": use_case, "snapshot": snapshot_id})
    return [Learned(name, label, tuple(ids)) for name, label, ids in rows]


def look_at(store: Store, use_case: str, snapshot_id: str, *, at: datetime, who: str) -> None:
    """Keep that somebody looked at what comes after a snapshot, and lets it go on."""
    told = {"use_case": use_case, "snapshot": snapshot_id, "at": at, "who": who}
    with transaction(store.con):
        store.con.execute(_LOOK_AT, told)


def looked_at(store: Store, use_case: str, snapshot_id: str) -> bool:
    """Whether somebody did."""
    here = {"use_case": use_case, "snapshot": snapshot_id}
    return bool(store.rows(_LOOKED_AT, here)[0][0])


def unseen(store: Store, use_case: str) -> list[tuple[str | None, str, str | None, int]]:
    """(Customer, source, value, rows) of feedback that no snapshot has used or dropped."""
    return [
        (who, source, value, n)
        for who, source, value, n in store.rows(_UNSEEN, {"use_case": use_case})
    ]


def since_asked(store: Store, use_case: str, *, own: Collection[str]) -> Since:
    """What came since the holdout was last asked; ``own`` are sources of the company's people."""
    ((nights, *counts, never),) = store.rows(
        _SINCE_ASKED, {"use_case": use_case, "own": sorted(own)}
    )
    return Since(None if never else nights, *counts)
