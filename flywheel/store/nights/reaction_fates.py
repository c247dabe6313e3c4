"""What became of the answers that were served: which got a reaction that is evidence, which none.

Bounded by the newest answers, so that a night costs no more when the history is long.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import pyarrow as pa

from flywheel.config import UseCase
from flywheel.gate.coverage import SURE, Cell, Coverage, Fates
from flywheel.store.arrow_columns import incoming, strings
from flywheel.store.warehouse import Store

WINDOW = timedelta(days=30)
NEWEST = 20_000
"""Of the answers of the last `WINDOW` no more than so many are looked at."""

_TOP = "list_max(map_values(CAST({of}.probabilities AS MAP(VARCHAR, DOUBLE))))"
# The last reaction to an answer is what was said of it. Audits are of texts; of the answers to a
# text that nobody reacted to, each has the audit's label.
_FATES = f"""
WITH served AS (
    SELECT prediction_id, prediction_key, text, label, probabilities
    FROM predictions
    WHERE use_case = $use_case AND predicted_at > $since AND predicted_at <= $until
    ORDER BY predicted_at DESC, prediction_id
    LIMIT $newest
),
said AS (
    SELECT
        f.prediction_id,
        arg_max(
            CASE
                WHEN f.kind = 'withdraw' THEN NULL
                WHEN f.kind = 'accept' THEN 'right'
                WHEN f.kind = 'reject' THEN 'refused'
                WHEN lower(trim(f.value)) = lower(trim(s.label)) THEN 'right'
                ELSE 'wrong'
            END,
            (f.given_at, f.kind = 'withdraw', f.feedback_id)
        ) AS fate
    FROM feedback AS f
    JOIN served AS s ON f.prediction_id = s.prediction_id
    WHERE
        f.use_case = $use_case
        AND f.seq IS NOT NULL
        AND f.ingested_at <= $until
        AND f.kind IN ('accept', 'correct', 'label', 'reject', 'withdraw')
        AND list_contains($sources::VARCHAR[], f.source)
    GROUP BY f.prediction_id
),
drawn AS (
    SELECT f.text, arg_max(f.value, (f.given_at, f.feedback_id)) AS value
    FROM feedback AS f
    WHERE
        f.use_case = $use_case
        AND f.seq IS NOT NULL
        AND f.ingested_at <= $until
        AND f.source = 'audit'
        AND f.kind = 'label'
        AND f.text IN (SELECT text FROM served)
    GROUP BY f.text
)
SELECT
    s.label,
    {_TOP.format(of="s")} >= $sure AS is_sure,
    count(*) FILTER (WHERE a.fate = 'right'),
    count(*) FILTER (WHERE a.fate = 'wrong'),
    count(*) FILTER (WHERE a.fate = 'refused'),
    count(*) FILTER (WHERE a.fate IS NULL),
    count(*) FILTER (WHERE a.fate IS NULL AND d.value IS NOT NULL),
    count(*) FILTER (WHERE a.fate IS NULL AND lower(trim(d.value)) = lower(trim(s.label)))
FROM served AS s
LEFT JOIN said AS a USING (prediction_id)
LEFT JOIN drawn AS d ON d.text = s.text
GROUP BY ALL
"""
_LAST_NIGHT = "SELECT epoch_us(max(as_of)) FROM nights WHERE use_case = $use_case"
_ANSWERED = f"""
SELECT f.feedback_id, p.label, {_TOP.format(of="p")} >= $sure
FROM feedback AS f
JOIN incoming AS i ON f.feedback_key = md5_number_lower(i.feedback_id)
JOIN predictions AS p
    ON p.prediction_key = md5_number_lower(f.prediction_id) AND p.prediction_id = f.prediction_id
WHERE
    f.use_case = $use_case
    AND p.use_case = $use_case
    AND f.feedback_id = i.feedback_id
    AND list_contains($sources::VARCHAR[], f.source)
"""


def coverage(store: Store, use_case: UseCase, *, until: datetime) -> Coverage | None:
    """How many of the answers served until then became evidence, by what was answered.

    None where no source of reactions is evidence, or none can be: of written answers none is.
    """
    sources = use_case.gate.evidence_sources
    if not sources or use_case.is_generation:
        return None
    asked = {
        "use_case": use_case.name,
        "sources": sorted(sources),
        "since": until - WINDOW,
        "until": until,
        "newest": NEWEST,
        "sure": SURE,
    }
    return Coverage.of(
        {(label, bool(sure)): Fates(*counts) for label, sure, *counts in store.rows(_FATES, asked)}
    )


def least_won(store: Store, use_case: UseCase) -> float:
    """What a win on reactions counts for beside a loss, as the last night knew it; 1: as much."""
    ((last,),) = store.rows(_LAST_NIGHT, {"use_case": use_case.name})
    known = None if last is None else coverage(store, use_case, until=store.moment(last))
    return known.least_won if known else 1.0


def answered(store: Store, use_case: UseCase, feedback_ids: Iterable[str]) -> dict[str, Cell]:
    """Feedback id → the cell of the answer that it reacts to, where its source is evidence."""
    wanted = pa.table({"feedback_id": strings(sorted(set(feedback_ids)))})
    asked = {
        "use_case": use_case.name,
        "sources": sorted(use_case.gate.evidence_sources),
        "sure": SURE,
    }
    with incoming(store.con, wanted):
        rows = store.rows(_ANSWERED, asked)
    return {name: (label, bool(sure)) for name, label, sure in rows}
