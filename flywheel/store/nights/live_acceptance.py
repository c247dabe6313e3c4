"""How served answers fared, by night and version."""

from __future__ import annotations

from datetime import datetime

from flywheel.evaluation.live_acceptance import Live
from flywheel.store.arrow_columns import from_us
from flywheel.store.warehouse import Store

NIGHTS = 14
"""Nights that are looked back on at most."""

# Tonight may not be on record yet. Each answer counts once, by the last reaction to it; an audit
# is of a text, and of the newest answer to it that was given before.
_LIVE = """
WITH ended AS (
    SELECT as_of FROM nights WHERE use_case = $use_case AND outcome <> 'failed' AND as_of < $until
    UNION
    SELECT $until::TIMESTAMPTZ
),
spans AS (
    SELECT
        coalesce(lag(as_of) OVER (ORDER BY as_of), TIMESTAMPTZ '1970-01-01 00:00:00+00') AS after,
        as_of
    FROM ended
    ORDER BY as_of DESC
    LIMIT $nights
),
answers AS (
    SELECT s.as_of, p.model_version, count(*) AS answers
    FROM predictions AS p
    JOIN spans AS s ON p.predicted_at > s.after AND p.predicted_at <= s.as_of
    WHERE p.use_case = $use_case
    GROUP BY ALL
),
reacted AS (
    SELECT
        s.as_of,
        p.model_version,
        f.prediction_id,
        p.predicted_at > s.after AND p.predicted_at <= s.as_of AS is_of_its_night,
        arg_max(
            CASE
                WHEN f.kind = 'accept' OR f.value = p.label THEN 'accepted'
                WHEN f.kind = 'reject' THEN 'rejected'
                ELSE 'corrected'
            END,
            (f.given_at, f.feedback_id)
        ) AS fate
    FROM feedback AS f
    JOIN spans AS s ON f.ingested_at > s.after AND f.ingested_at <= s.as_of
    JOIN predictions AS p ON p.use_case = f.use_case AND p.prediction_id = f.prediction_id
    WHERE
        f.use_case = $use_case
        AND f.seq IS NOT NULL
        AND f.source <> 'audit'
        AND f.kind IN ('accept', 'correct', 'label', 'reject')
    GROUP BY ALL
),
fates AS (
    SELECT
        as_of,
        model_version,
        count(*) FILTER (WHERE fate = 'accepted') AS accepted,
        count(*) FILTER (WHERE fate = 'corrected') AS corrected,
        count(*) FILTER (WHERE fate = 'rejected') AS rejected,
        count(*) FILTER (WHERE NOT is_of_its_night) AS of_other_nights
    FROM reacted
    GROUP BY ALL
),
drawn AS (
    SELECT
        s.as_of,
        f.feedback_id,
        arg_max(p.model_version, p.predicted_at) AS model_version,
        arg_max(p.label, p.predicted_at) = any_value(f.value) AS is_right
    FROM feedback AS f
    JOIN spans AS s ON f.ingested_at > s.after AND f.ingested_at <= s.as_of
    JOIN predictions AS p
        ON p.use_case = f.use_case
        AND p.predicted_at <= f.given_at
        AND (p.prediction_id = f.prediction_id OR (f.prediction_id IS NULL AND p.text = f.text))
    WHERE f.use_case = $use_case AND f.seq IS NOT NULL AND f.source = 'audit' AND f.kind = 'label'
    GROUP BY ALL
),
audits AS (
    SELECT
        as_of,
        model_version,
        count(*) AS audited,
        count(*) FILTER (WHERE is_right) AS audited_right
    FROM drawn
    GROUP BY ALL
)
SELECT
    epoch_us(as_of),
    model_version,
    coalesce(answers, 0),
    coalesce(accepted, 0),
    coalesce(corrected, 0),
    coalesce(rejected, 0),
    coalesce(audited, 0),
    coalesce(audited_right, 0),
    coalesce(of_other_nights, 0)
FROM answers
FULL JOIN fates USING (as_of, model_version)
FULL JOIN audits USING (as_of, model_version)
ORDER BY as_of, model_version
"""


def by_version(
    store: Store, use_case: str, *, until: datetime, nights: int = NIGHTS
) -> dict[datetime, dict[str, Live]]:
    """Night → version → how its answers fared; the last ``nights`` up to ``until``, oldest first.

    A night that nothing came in is left out.
    """
    asked = {"use_case": use_case, "until": until, "nights": nights}
    found: dict[datetime, dict[str, Live]] = {}
    for as_of_us, version, *counts in store.rows(_LIVE, asked):
        as_of = from_us(as_of_us)
        found.setdefault(as_of, {})[version] = Live(as_of, *counts)
    return found


def by_night(store: Store, use_case: str, *, until: datetime, nights: int = NIGHTS) -> list[Live]:
    """How served answers fared night by night, of all versions together, the oldest first."""
    found = by_version(store, use_case, until=until, nights=nights)
    return [Live.of(as_of, versions.values()) for as_of, versions in found.items()]
