"""What came since the last night: rows that it can use, and how the champion's answers fared.

Small columns only, so that one may look every few minutes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from flywheel.store.feedback import customers
from flywheel.store.warehouse import Store

NIGHTS = 14
"""Nights that are looked back on at most, for what is usual."""

_LAST = """
SELECT epoch_us(max(as_of)) FROM nights WHERE use_case = $use_case AND outcome <> 'failed'
"""
# A customer's rows beyond what a night surely takes of one do not count.
_USABLE = f"""
WITH came AS (
    SELECT
        CASE
            WHEN list_contains($own::VARCHAR[], f.source) THEN NULL
            ELSE {customers.customer()}
        END AS customer
    FROM feedback AS f
    LEFT JOIN consumed AS c
        ON c.use_case = f.use_case AND c.feedback_key = f.feedback_key
    {customers.REQUEST}
    WHERE
        f.use_case = $use_case
        AND f.seq IS NOT NULL
        AND f.kind IN ('accept', 'correct', 'label')
        AND c.snapshot_id IS NULL
        AND ($since IS NULL OR f.ingested_at > $since::TIMESTAMPTZ)
        -- these wait for a person
        AND f.feedback_id NOT IN (SELECT feedback_id FROM set_aside WHERE use_case = $use_case)
),
counted AS (
    SELECT CASE WHEN customer IS NULL THEN count(*) ELSE least(count(*), $most) END AS usable
    FROM came
    GROUP BY customer
)
SELECT coalesce(sum(usable), 0)::BIGINT FROM counted
"""
# Of each night a customer speaks once, by the first reaction: rows of one depend on each other, and
# what was counted once must not change when more comes.
_FATES = f"""
WITH ended AS (
    SELECT as_of
    FROM nights
    WHERE use_case = $use_case AND outcome <> 'failed'
    ORDER BY as_of DESC
    LIMIT $nights
),
reacted AS (
    SELECT
        f.ingested_at,
        f.given_at,
        f.feedback_id,
        f.kind = 'accept' OR f.value = p.label AS is_accepted,
        {customers.customer()} AS customer,
        f.prediction_id
    FROM feedback AS f
    JOIN predictions AS p
        ON
            p.use_case = f.use_case
            AND p.prediction_key = md5_number_lower(f.prediction_id)
            AND p.prediction_id = f.prediction_id
    WHERE
        f.use_case = $use_case
        AND f.seq IS NOT NULL
        AND f.source <> 'audit'
        AND f.kind IN ('accept', 'correct', 'label', 'reject')
        AND p.model_version = $version
),
spans AS (
    SELECT r.*, e.as_of AS night FROM reacted AS r ASOF JOIN ended AS e ON r.ingested_at > e.as_of
)
SELECT
    night = (SELECT max(as_of) FROM ended),
    arg_min(is_accepted, (ingested_at, given_at, feedback_id))
FROM spans
GROUP BY night, customer, CASE WHEN customer IS NULL THEN prediction_id END
ORDER BY min((ingested_at, given_at, feedback_id))
"""


@dataclass(frozen=True)
class Fates:
    """Whether the answers of a version were accepted: in nights ``before``, and ``since`` the last.

    One entry for each customer and night, and for each answer that was given to nobody by name.
    """

    before: tuple[bool, ...]
    since: tuple[bool, ...]


def last_night(store: Store, use_case: str) -> datetime | None:
    """When the last night was that has ended; None before a first one."""
    ((found,),) = store.rows(_LAST, {"use_case": use_case})
    return None if found is None else store.moment(found)


def usable(
    store: Store, use_case: str, *, since: datetime | None, own: Collection[str], most: int
) -> int:
    """Rows that came after ``since`` and that the next night can learn from.

    A customer counts for ``most`` rows; those of ``own`` sources all count.
    """
    asked = {"use_case": use_case, "since": since, "own": sorted(own), "most": most}
    return int(store.rows(_USABLE, asked)[0][0])


def fates(store: Store, use_case: str, version: str) -> Fates:
    """How the answers of a version fared, in the last nights and since the last one."""
    rows = store.rows(_FATES, {"use_case": use_case, "version": version, "nights": NIGHTS + 1})
    return Fates(
        tuple(accepted for is_new, accepted in rows if not is_new),
        tuple(accepted for is_new, accepted in rows if is_new),
    )
