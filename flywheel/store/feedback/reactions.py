"""Reading the feedback that a night works on, at a cost that does not follow the history.

Rows of interest are told by small columns (source, ``seq``, the number made from the id); only of
those is the rest read.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pyarrow as pa

from flywheel.records import Reaction
from flywheel.store.arrow_columns import from_us, incoming, strings
from flywheel.store.feedback import customers

_COLUMNS = """
    f.feedback_id,
    f.kind,
    f.value,
    f.text,
    f.group_id,
    f.rater_id,
    f.source,
    f.given_at,
    f.prediction_id,
    f.customer_id,
    f.ingested_at,
    f.seq,
    f.file_sha256
"""
_CHOOSE_ALL = f"""
CREATE OR REPLACE TEMP TABLE chosen AS
SELECT {_COLUMNS}
FROM feedback AS f
WHERE f.use_case = $use_case AND f.seq IS NOT NULL
"""
_CHOOSE = f"""
CREATE OR REPLACE TEMP TABLE chosen AS
SELECT {_COLUMNS}
FROM feedback AS f
WHERE
    f.use_case = $use_case
    AND f.seq IS NOT NULL
    AND f.source IN (SELECT unnest($gold::VARCHAR[]))
UNION ALL
SELECT {_COLUMNS}
FROM feedback AS f
WHERE
    f.use_case = $use_case
    AND f.seq > $floor
    AND NOT list_contains($gold::VARCHAR[], f.source)
"""
_CHOOSE_REPLAY = f"""
INSERT INTO chosen
SELECT {_COLUMNS}
FROM feedback AS f
JOIN (
    SELECT feedback_id AS wanted, md5_number_lower(feedback_id) AS wanted_key FROM incoming
) AS i ON f.feedback_key = i.wanted_key
WHERE
    f.use_case = $use_case
    AND f.seq <= $floor
    AND f.feedback_id = i.wanted
    AND NOT list_contains($gold::VARCHAR[], f.source)
"""
# What is learned from again may have been taken back or corrected in rows that the newest left out.
_CHOOSE_REVISIONS = f"""
INSERT INTO chosen
SELECT {_COLUMNS}
FROM feedback AS f
WHERE
    f.use_case = $use_case
    AND f.seq <= $floor
    AND f.kind IN ('withdraw', 'correct', 'label', 'reject')
    AND NOT list_contains($gold::VARCHAR[], f.source)
    AND (
        f.rater_id IN (SELECT rater_id FROM chosen WHERE seq <= $floor)
        OR f.customer_id IN (SELECT customer_id FROM chosen WHERE seq <= $floor)
    )
    AND (
        f.kind = 'withdraw'
        OR f.prediction_id IN (SELECT prediction_id FROM chosen WHERE seq <= $floor)
        OR f.text IN (SELECT text FROM chosen WHERE seq <= $floor)
    )
    AND f.feedback_id NOT IN (SELECT feedback_id FROM chosen)
"""
_LAST_SEQ = "SELECT coalesce(max(seq), 0) FROM feedback"
_OTHERS_ABOVE = """
SELECT count(*)
FROM feedback
WHERE use_case = $use_case AND seq > $floor AND NOT list_contains($gold::VARCHAR[], source)
"""
_NTH_NEWEST = """
SELECT seq
FROM feedback
WHERE use_case = $use_case AND seq > $floor AND NOT list_contains($gold::VARCHAR[], source)
ORDER BY seq DESC
LIMIT 1 OFFSET $newest
"""
_WITH_ANSWERS = f"""
SELECT
    c.feedback_id,
    c.kind,
    c.value,
    coalesce(p.text, c.text),
    coalesce(p.group_id, c.group_id),
    c.rater_id,
    c.source,
    -- a clock that is years ahead would have the last word for years
    epoch_us(
        CASE
            WHEN c.given_at > c.ingested_at + INTERVAL 1 DAY
                THEN c.ingested_at - INTERVAL 1 DAY
            ELSE c.given_at
        END
    ),
    p.label,
    c.prediction_id,
    {customers.customer("c")},
    p.customer_id,
    -- the rows of a file arrive together, in whatever order they stand
    min(c.seq) OVER (PARTITION BY c.file_sha256)
FROM chosen AS c
LEFT JOIN (
    SELECT prediction_id, text, group_id, customer_id, label
    FROM predictions
    WHERE use_case = $use_case AND prediction_key IN (
        SELECT md5_number_lower(prediction_id) FROM chosen WHERE prediction_id IS NOT NULL
    )
) AS p ON p.prediction_id = c.prediction_id
WHERE p.prediction_id IS NOT NULL OR c.text IS NOT NULL
ORDER BY c.feedback_id
"""


def read_reactions(
    con: duckdb.DuckDBPyConnection,
    use_case: str,
    *,
    gold_sources: Sequence[str],
    newest: int | None,
    replay: Sequence[str],
) -> list[Reaction]:
    """Return gold, the newest others and the replayed; everything when ``newest`` is None.

    With what is replayed comes what the same people said of it since. A time more than a day after
    its arrival is wrong, and counts as one day before it.
    """
    here = {"use_case": use_case}
    if newest is None:
        con.execute(_CHOOSE_ALL, here)
    else:
        gold = sorted(set(gold_sources))
        floor = oldest_looked_at(con, use_case, gold_sources=gold, newest=newest)
        told = here | {"gold": gold, "floor": floor}
        con.execute(_CHOOSE, told)
        if replay:
            with incoming(con, pa.table({"feedback_id": strings(sorted(set(replay)))})):
                con.execute(_CHOOSE_REPLAY, told)
            con.execute(_CHOOSE_REVISIONS, told)
    rows = con.execute(_WITH_ANSWERS, here).fetchall()
    return [
        Reaction(
            feedback_id=feedback_id,
            kind=kind,
            value=value,
            text=text,
            group_id=group_id,
            rater_id=rater_id,
            source=source,
            given_at=from_us(given_us),
            predicted_label=label,
            prediction_id=prediction_id,
            customer_id=customer_id,
            asked_by=asked_by,
            arrived=arrived,
        )
        for (
            feedback_id,
            kind,
            value,
            text,
            group_id,
            rater_id,
            source,
            given_us,
            label,
            prediction_id,
            customer_id,
            asked_by,
            arrived,
        ) in rows
    ]


def oldest_looked_at(
    con: duckdb.DuckDBPyConnection, use_case: str, *, gold_sources: Sequence[str], newest: int
) -> int:
    """Return the ``seq`` above which the ``newest`` usable rows without gold lie, 0: all do."""
    gold = sorted(set(gold_sources))
    last: int = con.execute(_LAST_SEQ).fetchall()[0][0]
    told = {"use_case": use_case, "gold": gold}
    width = max(newest, 1)
    while True:
        floor = max(0, last - width)
        found = con.execute(_OTHERS_ABOVE, told | {"floor": floor}).fetchall()[0][0]
        if found > newest:
            asked = told | {"floor": floor, "newest": newest}
            return int(con.execute(_NTH_NEWEST, asked).fetchall()[0][0])
        if found == newest or floor == 0:
            return floor
        width *= 4
