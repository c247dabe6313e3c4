"""When texts came, by clocks of ours, and which of them are gold.

Who sends a feedback says when it was given. It came after the ingest before the one that took it
in, and that much is known here: nobody can say that their words were there a month ago.
"""

from __future__ import annotations

from collections.abc import Collection

from flywheel.privacy.own_words import Other
from flywheel.store.erasure import Held
from flywheel.store.warehouse import Store

_INGESTS = """
WITH moments AS (
    SELECT ingested_at FROM ingested_files WHERE use_case = $use_case
    UNION SELECT ingested_at FROM feedback WHERE use_case = $use_case
),
ingests AS (
    SELECT ingested_at, lag(ingested_at) OVER (ORDER BY ingested_at) AS before FROM moments
),
came AS (
    SELECT
        f.feedback_id,
        f.text,
        f.kind,
        f.value,
        f.source,
        epoch_us(least(
            greatest(f.given_at, i.before + INTERVAL 1 MICROSECOND), f.ingested_at
        )) AS came_us
    FROM feedback AS f
    JOIN ingests AS i ON i.ingested_at = f.ingested_at
    WHERE f.use_case = $use_case
)
"""
_THEIRS = f"""
{_INGESTS}
SELECT text, min(came_us)
FROM (
    SELECT text, epoch_us(predicted_at) AS came_us
    FROM predictions
    WHERE use_case = $use_case AND prediction_id IN (SELECT unnest($predictions))
    UNION ALL
    SELECT unnest([text, CASE WHEN kind = 'comment' THEN value END]), came_us
    FROM came
    WHERE feedback_id IN (SELECT unnest($feedback))
)
WHERE text IS NOT NULL
GROUP BY text
"""
_OTHERS = f"""
{_INGESTS}
SELECT 'prediction', prediction_id, epoch_us(predicted_at), false, text
FROM predictions
WHERE use_case = $use_case AND prediction_id NOT IN (SELECT unnest($predictions))
UNION ALL
SELECT 'feedback', feedback_id, came_us, list_contains($gold::VARCHAR[], source), text
FROM came
WHERE text IS NOT NULL AND feedback_id NOT IN (SELECT unnest($feedback))
UNION ALL
SELECT 'feedback', feedback_id, came_us, list_contains($gold::VARCHAR[], source), value
FROM came
WHERE kind = 'comment' AND value IS NOT NULL AND feedback_id NOT IN (SELECT unnest($feedback))
"""
_EXAMINED = """
SELECT DISTINCT f.source
FROM (
    SELECT unnest(feedback_ids) AS feedback_id
    FROM snapshot_rows
    WHERE use_case = $use_case AND split = 'holdout'
) AS e
JOIN feedback AS f ON f.feedback_key = md5_number_lower(e.feedback_id)
WHERE f.use_case = $use_case AND f.feedback_id = e.feedback_id
"""
# Others' rows that hang on a person by their group alone, and a group that had the text before.
_REGROUPED = f"""
{_INGESTS},
given AS (
    SELECT text, group_id, epoch_us(predicted_at) AS came_us
    FROM predictions
    WHERE use_case = $use_case AND group_id <> $person
        AND prediction_id NOT IN (SELECT unnest($predictions))
    UNION ALL
    SELECT c.text, f.group_id, c.came_us
    FROM came AS c
    JOIN feedback AS f ON f.use_case = $use_case AND f.feedback_id = c.feedback_id
    WHERE c.text IS NOT NULL AND f.group_id <> $person
        AND c.feedback_id NOT IN (SELECT unnest($feedback))
)
SELECT f.feedback_id, arg_min(g.group_id, (g.came_us, g.group_id))
FROM feedback AS f
JOIN given AS g ON g.text = f.text
WHERE
    f.use_case = $use_case
    AND f.group_id = $person
    AND f.rater_id <> $person
    AND f.customer_id IS DISTINCT FROM $person
    AND (f.prediction_id IS NULL OR f.prediction_id NOT IN (SELECT unnest($predictions)))
    AND f.text IN (SELECT unnest($known::VARCHAR[]))
GROUP BY f.feedback_id
ORDER BY f.feedback_id
"""
_FILES = f"""
{_INGESTS}
SELECT f.file_sha256, f.file, coalesce(epoch_us(i.before) + 1, 0)
FROM ingested_files AS f
JOIN ingests AS i ON i.ingested_at = f.ingested_at
WHERE f.use_case = $use_case
"""
_QUARANTINE = """
SELECT q.file_sha256, q.row_number, q.raw, epoch_us(i.ingested_at)
FROM quarantine AS q
LEFT JOIN ingested_files AS i ON i.use_case = q.use_case AND i.file_sha256 = q.file_sha256
WHERE q.use_case = $use_case AND q.raw <> ''
"""


def theirs(store: Store, found: Held) -> dict[str, int]:
    """Each text of a person, and when it came first, in µs since 1970."""
    return dict(store.rows(_THEIRS, _asked(found)))


def others(store: Store, found: Held, gold: Collection[str]) -> list[Other]:
    """Every text that is not the person's; that of a ``gold`` source is gold."""
    asked = _asked(found) | {"gold": sorted(gold)}
    return [
        Other(table, name, at, is_gold, text)
        for table, name, at, is_gold, text in store.rows(_OTHERS, asked)
    ]


def examined_sources(store: Store, use_case: str) -> set[str]:
    """The sources of what is in a holdout: only gold ever was."""
    return {source for (source,) in store.rows(_EXAMINED, {"use_case": use_case})}


def by_group_alone(
    store: Store, found: Held, person: str, known: Collection[str]
) -> tuple[tuple[str, str], ...]:
    """Feedback by others, on ``known`` texts that others had given before, in the person's group.

    Each with the group that had the text first: a queue may have named the last one who gave it.
    """
    asked = _asked(found) | {"person": person, "known": sorted(known)}
    return tuple(store.rows(_REGROUPED, asked))


def files(store: Store, use_case: str) -> dict[str, int]:
    """The name that each ingested file has in ``done/``, and the earliest that it came, in µs."""
    rows = store.rows(_FILES, {"use_case": use_case})
    return {f"{sha256[:8]}-{file}": at for sha256, file, at in rows}


def quarantined(store: Store, use_case: str) -> list[tuple[str, int, str, int | None]]:
    """``(file, row, what stands there, when it was taken in)`` of each row that is not empty."""
    return [(f, n, raw, at) for f, n, raw, at in store.rows(_QUARANTINE, {"use_case": use_case})]


def _asked(found: Held) -> dict[str, object]:
    return {
        "use_case": found.use_case,
        "predictions": list(found.predictions),
        "feedback": list(found.feedback),
    }
