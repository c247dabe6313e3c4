"""How many pieces of fresh evidence came in the last nights, and of whom; no text is returned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flywheel.config import UseCase
from flywheel.influence.quorum import UNKNOWN
from flywheel.influence.row_caps import own_sources
from flywheel.store.feedback import customers
from flywheel.store.warehouse import Store

NIGHTS = 7
"""Fresh rows are counted over this many nights at most."""
_AUDIT = "audit"

# A group of a night is one bet, however many rows it brings; with `gate.unit` row each text is one,
# once. What came before the oldest of these nights was there when their contenders were trained.
# What the snapshot that saw it left out proves nothing: it was taken back, or its label is none of
# the use case's. Nor does an edited answer, of which `tasks.trial.fresh_examples` says more.
_FRESH = f"""
WITH recent AS (
    SELECT as_of
    FROM nights
    WHERE use_case = $use_case AND outcome <> 'failed'
    ORDER BY as_of DESC
    LIMIT $nights + 1
),
span AS (SELECT min(as_of) AS first, max(as_of) AS last, count(*) - 1 AS nights FROM recent),
came AS (
    SELECT
        f.feedback_id,
        f.feedback_key,
        f.ingested_at,
        f.group_id,
        f.text,
        f.prediction_id,
        f.customer_id,
        f.source
    FROM feedback AS f, span
    WHERE
        f.use_case = $use_case
        AND f.seq IS NOT NULL
        AND f.kind IN ('accept', 'correct', 'label')
        AND f.source IN (SELECT unnest($sources::VARCHAR[]))
        AND f.ingested_at > span.first
        AND f.ingested_at <= span.last
        AND NOT ($writes AND (f.prediction_id IS NOT NULL OR f.kind <> 'label'))
),
left_out AS (
    SELECT f.feedback_id
    FROM came AS f
    JOIN consumed AS c ON c.feedback_key = f.feedback_key
    JOIN drops AS d ON d.snapshot_id = c.snapshot_id AND d.feedback_id = f.feedback_id
    WHERE c.use_case = $use_case AND d.use_case = $use_case
),
fresh AS (
    SELECT
        CASE
            WHEN $unit = 'row' THEN coalesce(p.text, f.text)
            ELSE concat(epoch_us(f.ingested_at), ' ', coalesce(p.group_id, f.group_id))
        END AS unit,
        CASE
            WHEN NOT list_contains($own::VARCHAR[], f.source)
            THEN coalesce({customers.customer()}, '{UNKNOWN}')
        END AS customer
    FROM came AS f
    LEFT JOIN (
        SELECT prediction_id, group_id, text, customer_id
        FROM predictions
        WHERE use_case = $use_case AND prediction_key IN (
            SELECT md5_number_lower(prediction_id) FROM came WHERE prediction_id IS NOT NULL
        )
    ) AS p ON p.prediction_id = f.prediction_id
    WHERE f.feedback_id NOT IN (SELECT feedback_id FROM left_out)
),
of_each AS (SELECT customer, count(DISTINCT unit) AS units FROM fresh GROUP BY customer)
SELECT
    (SELECT greatest(nights, 0) FROM span),
    (SELECT count(DISTINCT unit) FROM fresh),
    (SELECT coalesce(sum(units), 0)::BIGINT FROM of_each WHERE customer IS NULL),
    (SELECT list({{'who': customer, 'units': units}}) FROM of_each WHERE customer IS NOT NULL)
"""


@dataclass(frozen=True)
class Fresh:
    """Pieces of evidence of the last ``nights`` nights; ``own`` are of the company's own people.

    ``by_customer`` is customer → pieces on which they spoke, an empty name for all without one.
    """

    nights: int
    units: int
    own: int
    by_customer: Mapping[str, int] = field(default_factory=dict)


def count(store: Store, use_case: UseCase) -> Fresh:
    """What the last `NIGHTS` nights brought from the sources whose labels are evidence."""
    own = own_sources(use_case.curation)
    rules = use_case.curation
    named = use_case.gate.evidence_sources
    sources = {*rules.gold_sources, *rules.trusted_sources, *named, _AUDIT}
    asked = {
        "use_case": use_case.name,
        "sources": sorted(sources),
        "own": sorted(own),
        "nights": NIGHTS,
        "unit": use_case.gate.unit,
        "writes": use_case.is_generation,
    }
    nights, units, ours, of_each = store.rows(_FRESH, asked)[0]
    theirs = {one["who"]: one["units"] for one in of_each or []}
    return Fresh(nights, units, ours, theirs)
