"""When texts came, by clocks of ours, and which of them are gold.

Who sends a feedback says when it was given. It came after the ingest before the one that took it
in, and that much is known here: nobody can say that their words were there a month ago.
"""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa

from flywheel.privacy.clues import may_hold
from flywheel.privacy.own_words import Other
from flywheel.store.rows_of_person import Held
from flywheel.store.warehouse import Store

_BATCH_ROWS = 50_000
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
    SELECT unnest([text, CASE
        WHEN kind = 'comment' THEN value
        WHEN kind IN ('correct', 'label') AND NOT list_contains($labels::VARCHAR[], value)
            THEN value
    END]), came_us
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
WHERE value IS NOT NULL
    AND (
        kind = 'comment'
        OR kind IN ('correct', 'label') AND NOT list_contains($labels::VARCHAR[], value)
    )
    AND feedback_id NOT IN (SELECT unnest($feedback))
"""
_NAMING = """
SELECT text
FROM (
    SELECT text FROM predictions
    WHERE use_case = $use_case AND prediction_id NOT IN (SELECT unnest($predictions))
    UNION ALL
    SELECT unnest([text, CASE WHEN kind = 'comment' THEN value END]) FROM feedback
    WHERE use_case = $use_case AND feedback_id NOT IN (SELECT unnest($feedback))
)
WHERE EXISTS (SELECT 1 FROM (SELECT unnest($names) AS name) WHERE contains(text, name))
"""
_SAME_ANSWERS = """
SELECT label
FROM (
    SELECT label, prediction_id FROM predictions WHERE use_case = $use_case
    UNION ALL SELECT label, prediction_id FROM shadow_answers WHERE use_case = $use_case
)
WHERE label IN (SELECT unnest($answers)) AND prediction_id NOT IN (SELECT unnest($predictions))
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
    WHERE use_case = $use_case AND group_id NOT IN (SELECT unnest($people))
        AND prediction_id NOT IN (SELECT unnest($predictions))
    UNION ALL
    SELECT c.text, f.group_id, c.came_us
    FROM came AS c
    JOIN feedback AS f ON f.use_case = $use_case AND f.feedback_id = c.feedback_id
    WHERE c.text IS NOT NULL AND f.group_id NOT IN (SELECT unnest($people))
        AND c.feedback_id NOT IN (SELECT unnest($feedback))
)
SELECT f.feedback_id, arg_min(g.group_id, (g.came_us, g.group_id))
FROM feedback AS f
JOIN given AS g ON g.text = f.text
WHERE
    f.use_case = $use_case
    AND f.group_id IN (SELECT unnest($people))
    AND f.rater_id NOT IN (SELECT unnest($people))
    AND (f.customer_id IS NULL OR f.customer_id NOT IN (SELECT unnest($people)))
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


def theirs(store: Store, found: Held, labels: Collection[str]) -> dict[str, int]:
    """Each text of a person, and when it came first, in µs since 1970."""
    return dict(store.rows(_THEIRS, _asked(found) | {"labels": list(labels)}))


def others(
    store: Store,
    found: Held,
    gold: Collection[str],
    *,
    texts: Collection[str],
    labels: Collection[str],
) -> list[Other]:
    """What is not the person's and may hold, be, or be almost like, one of ``texts``.

    What a ``gold`` source said is gold. All rows are looked at, and few are held at a time.
    """
    asked = _asked(found) | {"gold": sorted(gold), "labels": list(labels)}
    is_candidate = may_hold(texts)
    rows: list[Other] = []
    for batch in store.con.execute(_OTHERS, asked).to_arrow_reader(_BATCH_ROWS):
        mask = is_candidate(batch.column(4))
        if mask.any():
            few = batch.filter(pa.array(mask))
            columns = (column.to_pylist() for column in few.columns)
            rows += (Other(*row) for row in zip(*columns, strict=True))
    return rows


def naming(store: Store, found: Held, names: Collection[str]) -> list[str]:
    """Texts of others in which one of ``names`` stands, as a word or within one."""
    asked = _asked(found) | {"names": list(names)}
    return [text for (text,) in store.rows(_NAMING, asked)] if names else []


def same_answers(store: Store, found: Held) -> set[str]:
    """The answers written for the person that were written for others, too."""
    asked = {
        "use_case": found.use_case,
        "predictions": list(found.predictions),
        "answers": sorted(found.answers),
    }
    return {label for (label,) in store.rows(_SAME_ANSWERS, asked)}


def examined_sources(store: Store, use_case: str) -> set[str]:
    """The sources of what is in a holdout: only gold ever was."""
    return {source for (source,) in store.rows(_EXAMINED, {"use_case": use_case})}


def by_group_alone(
    store: Store, found: Held, known: Collection[str]
) -> tuple[tuple[str, str], ...]:
    """Feedback by others, on ``known`` texts that others had given before, in the person's group.

    Each with the group that had the text first: a queue may have named the last one who gave it.
    """
    asked = _asked(found) | {"people": list(found.people), "known": sorted(known)}
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
