"""Which rows of a source are in the warehouse already, taken in or set apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from flywheel.store.arrow_columns import incoming, strings, times
from flywheel.store.warehouse import Store

_KNOWN = """
SELECT f.feedback_id
FROM feedback AS f
JOIN (SELECT unnest($ids::VARCHAR[]) AS feedback_id) AS i
    ON f.feedback_key = md5_number_lower(i.feedback_id) AND f.feedback_id = i.feedback_id
WHERE f.use_case = $use_case
"""
_SAID = """
SELECT f.feedback_id, f.kind, f.value, f.text, f.rater_id
FROM feedback AS f
JOIN (SELECT unnest($ids::VARCHAR[]) AS feedback_id) AS i
    ON f.feedback_key = md5_number_lower(i.feedback_id) AND f.feedback_id = i.feedback_id
WHERE f.use_case = $use_case AND f.source = $source
"""
_SET_APART = """
SELECT DISTINCT raw
FROM quarantine
WHERE use_case = $use_case AND raw IN (SELECT unnest($lines::VARCHAR[]))
"""
_AT_THE_TIME = """
SELECT f.feedback_id, f.kind, f.prediction_id, f.text, f.source, f.rater_id, epoch_us(f.given_at)
FROM feedback AS f
SEMI JOIN incoming AS i ON f.rater_id = i.rater_id AND f.given_at = i.given_at
WHERE f.use_case = $use_case
ORDER BY f.ingested_at, coalesce(f.seq, f.row_number)
"""

_OF_ANSWERS = """
SELECT f.feedback_id, f.kind, f.prediction_id, f.rater_id, f.given_at
FROM feedback AS f
SEMI JOIN (SELECT unnest($predictions::VARCHAR[]) AS prediction_id) AS p USING (prediction_id)
WHERE f.use_case = $use_case AND f.source = $source
    AND f.kind IN ('accept', 'reject', 'correct', 'label', 'withdraw')
ORDER BY f.given_at, f.ingested_at, coalesce(f.seq, f.row_number)
"""


def said_of(
    store: Store, use_case: str, source: str, predictions: Sequence[str]
) -> list[tuple[str, str, str, str, datetime]]:
    """What of a source counts of these answers: id, kind, prediction, rater, time; by time."""
    asked = {"use_case": use_case, "source": source, "predictions": list(predictions)}
    return list(store.rows(_OF_ANSWERS, asked))


_OF_TEXTS = """
SELECT f.feedback_id, f.kind, f.text, f.rater_id, f.given_at
FROM feedback AS f
SEMI JOIN (SELECT unnest($texts::VARCHAR[]) AS text) AS t USING (text)
WHERE f.use_case = $use_case AND f.source = $source AND f.prediction_id IS NULL
    AND f.kind IN ('label', 'correct', 'withdraw')
ORDER BY f.given_at, f.ingested_at, coalesce(f.seq, f.row_number)
"""


def labeled(
    store: Store, use_case: str, source: str, texts: Sequence[str]
) -> list[tuple[str, str, str, str, datetime]]:
    """What a source says of these texts: id, kind, text, rater, time; by time."""
    asked = {"use_case": use_case, "source": source, "texts": list(texts)}
    return list(store.rows(_OF_TEXTS, asked))


def said_at(
    store: Store, use_case: str, moments: Sequence[tuple[str, datetime]]
) -> list[tuple[Any, ...]]:
    """What these raters said at just these times, in the order in which it was taken in.

    Its id, kind, prediction, text, source, rater, and its time in microseconds.
    """
    asked = {
        "rater_id": strings(rater for rater, _ in moments),
        "given_at": times(moment for _, moment in moments),
    }
    with incoming(store.con, pa.table(asked)):
        return list(store.rows(_AT_THE_TIME, {"use_case": use_case}))


def known(store: Store, use_case: str, ids: Sequence[str]) -> set[str]:
    """The ids among these of feedback that is there."""
    rows = store.rows(_KNOWN, {"use_case": use_case, "ids": list(ids)})
    return {name for (name,) in rows}


def known_before(
    store: Store, use_case: str, source: str, rows: Mapping[str, Mapping[str, object]]
) -> set[str]:
    """The names among these under which older versions took in the very same.

    A table's numbers were ids as they are, without the source and what is said.
    """
    asked = {"use_case": use_case, "ids": list(rows), "source": source}
    return {
        name
        for name, *said in store.rows(_SAID, asked)
        if said == [rows[name].get(field) for field in ("kind", "value", "text", "rater_id")]
    }


def set_apart(store: Store, use_case: str, lines: Sequence[str]) -> set[str]:
    """The lines among these that lie in quarantine as they are."""
    rows = store.rows(_SET_APART, {"use_case": use_case, "lines": list(lines)})
    return {raw for (raw,) in rows}
