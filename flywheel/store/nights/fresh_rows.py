"""Fresh rows: what came after a trial began, and what there is to know of where it came from."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

import pyarrow as pa

from flywheel.influence.quorum import UNKNOWN
from flywheel.records import FreshRow, Served
from flywheel.store.arrow_columns import from_us, incoming, strings, times
from flywheel.store.feedback import customers
from flywheel.store.migrations import transaction
from flywheel.store.warehouse import Store

_EVIDENCE = """
SELECT
    epoch_us(as_of),
    example_id,
    group_id,
    source,
    challenger_right,
    champion_right,
    probability,
    shown,
    coalesce(recorded, false),
    differs,
    customers,
    coalesce(counted, true),
    coalesce(won_weight, 1),
    coalesce(lost_weight, 1)
FROM evidence
WHERE use_case = $use_case AND digest = $digest AND champion_digest = $champion
ORDER BY as_of, example_id
"""
_ADD_EVIDENCE = "INSERT OR IGNORE INTO evidence BY NAME SELECT * FROM incoming"
# Feedback that a snapshot had seen when the trial began is not fresh.
_SEEN_BEFORE = """
SELECT DISTINCT c.feedback_id
FROM consumed AS c
JOIN incoming AS i ON c.feedback_key = md5_number_lower(i.feedback_id)
WHERE
    c.use_case = $use_case
    AND c.feedback_id = i.feedback_id
    AND c.consumed_at <= $started::TIMESTAMPTZ
"""
_KNOWN_TEXTS = """
SELECT example_id, cluster_id
FROM snapshot_rows
WHERE use_case = $use_case AND list_contains($snapshots, snapshot_id)
"""
_ORIGINS = """
SELECT f.feedback_id, f.source, epoch_us(f.given_at)
FROM feedback AS f
JOIN incoming AS i ON f.feedback_key = md5_number_lower(i.feedback_id)
WHERE f.use_case = $use_case AND f.feedback_id = i.feedback_id
"""
_SPEAKERS = f"""
SELECT f.feedback_id, f.source, {customers.customer()}
FROM feedback AS f
JOIN incoming AS i ON f.feedback_key = md5_number_lower(i.feedback_id)
{customers.REQUEST}
WHERE f.use_case = $use_case AND f.feedback_id = i.feedback_id
"""
_ABOUT_ANSWERS = """
SELECT f.feedback_id
FROM feedback AS f
JOIN incoming AS i ON f.feedback_key = md5_number_lower(i.feedback_id)
WHERE
    f.use_case = $use_case
    AND f.feedback_id = i.feedback_id
    AND (f.prediction_id IS NOT NULL OR f.kind <> 'label')
"""
# The answers that feedback was given on, and what was answered beside them unseen.
_SERVED = """
WITH asked AS (
    SELECT f.feedback_id, f.prediction_id, md5_number_lower(f.prediction_id) AS prediction_key
    FROM feedback AS f
    JOIN incoming AS i ON f.feedback_key = md5_number_lower(i.feedback_id)
    WHERE
        f.use_case = $use_case
        AND f.feedback_id = i.feedback_id
        AND f.prediction_id IS NOT NULL
)
SELECT a.feedback_id, p.prediction_id, p.digest, true, p.probabilities
FROM asked AS a
JOIN predictions AS p USING (prediction_key, prediction_id)
WHERE p.use_case = $use_case AND list_contains($digests, p.digest)
UNION ALL
SELECT a.feedback_id, s.prediction_id, s.digest, false, s.probabilities
FROM asked AS a
JOIN shadow_answers AS s USING (prediction_key, prediction_id)
WHERE s.use_case = $use_case AND list_contains($digests, s.digest)
"""
_DRAWN = """
SELECT a.item_id, a.probability
FROM audits AS a
JOIN incoming AS i ON a.item_id = i.item_id
WHERE a.use_case = $use_case
"""
_NEWEST_REQUESTS = """
SELECT prediction_id, text
FROM predictions
WHERE use_case = $use_case
ORDER BY predicted_at DESC, prediction_id
LIMIT $newest
"""


def evidence(
    store: Store, use_case: str, *, digest: str, champion_digest: str
) -> tuple[FreshRow, ...]:
    """All fresh rows that the two were compared on, by night."""
    here = {"use_case": use_case, "digest": digest, "champion": champion_digest}
    return tuple(
        # who spoke was not kept before 2026-11-30
        FreshRow(
            from_us(night),
            *[*row, (UNKNOWN,) if names is None else tuple(names), counted, won, lost],
        )
        for night, *row, names, counted, won, lost in store.rows(_EVIDENCE, here)
    )


def add_evidence(
    store: Store, use_case: str, rows: Sequence[FreshRow], *, digest: str, champion_digest: str
) -> None:
    """Keep fresh rows; a row counts once, on the night that it first came."""
    table = pa.table(
        {
            "use_case": strings([use_case] * len(rows)),
            "digest": strings([digest] * len(rows)),
            "champion_digest": strings([champion_digest] * len(rows)),
            "as_of": times(row.as_of for row in rows),
            "example_id": strings(row.example_id for row in rows),
            "group_id": strings(row.group_id for row in rows),
            "source": strings(row.source for row in rows),
            "challenger_right": pa.array([row.challenger_right for row in rows], pa.bool_()),
            "champion_right": pa.array([row.champion_right for row in rows], pa.bool_()),
            "probability": pa.array([row.probability for row in rows], pa.float64()),
            "shown": strings(row.shown for row in rows),
            "recorded": pa.array([row.recorded for row in rows], pa.bool_()),
            "differs": pa.array([row.differs for row in rows], pa.bool_()),
            "customers": pa.array([list(row.customers) for row in rows], pa.list_(pa.string())),
            "counted": pa.array([row.counted for row in rows], pa.bool_()),
            "won_weight": pa.array([row.won_weight for row in rows], pa.float64()),
            "lost_weight": pa.array([row.lost_weight for row in rows], pa.float64()),
        }
    )
    with transaction(store.con), incoming(store.con, table):
        store.con.execute(_ADD_EVIDENCE)


def seen_before(
    store: Store, use_case: str, feedback_ids: Iterable[str], *, started: datetime
) -> set[str]:
    """Those of ``feedback_ids`` that a snapshot had used or dropped by ``started``."""
    wanted = pa.table({"feedback_id": strings(sorted(set(feedback_ids)))})
    with incoming(store.con, wanted):
        found = store.rows(_SEEN_BEFORE, {"use_case": use_case, "started": started})
    return {name for (name,) in found}


def known_texts(
    store: Store, use_case: str, snapshot_ids: Sequence[str]
) -> tuple[set[str], set[str]]:
    """Example ids and cluster ids of these snapshots."""
    here = {"use_case": use_case, "snapshots": list(snapshot_ids)}
    rows = store.rows(_KNOWN_TEXTS, here)
    return {row[0] for row in rows}, {row[1] for row in rows if row[1]}


def origins(
    store: Store, use_case: str, feedback_ids: Iterable[str]
) -> dict[str, tuple[str, datetime]]:
    """Feedback id → its source and when it was given."""
    wanted = pa.table({"feedback_id": strings(sorted(set(feedback_ids)))})
    with incoming(store.con, wanted):
        rows = store.rows(_ORIGINS, {"use_case": use_case})
    return {name: (source, from_us(at)) for name, source, at in rows}


def speakers(
    store: Store, use_case: str, feedback_ids: Iterable[str], *, trusted: Collection[str]
) -> dict[str, str]:
    """Feedback id → the customer who gave it, an empty name where none is known.

    What ``trusted`` sources gave is left out.
    """
    wanted = pa.table({"feedback_id": strings(sorted(set(feedback_ids)))})
    with incoming(store.con, wanted):
        rows = store.rows(_SPEAKERS, {"use_case": use_case})
    return {name: who or UNKNOWN for name, source, who in rows if source not in trusted}


def about_answers(store: Store, use_case: str, feedback_ids: Iterable[str]) -> set[str]:
    """Those of ``feedback_ids`` that were given on an answer, not on a text alone."""
    wanted = pa.table({"feedback_id": strings(sorted(set(feedback_ids)))})
    with incoming(store.con, wanted):
        return {name for (name,) in store.rows(_ABOUT_ANSWERS, {"use_case": use_case})}


def served(
    store: Store, use_case: str, feedback_ids: Iterable[str], *, digests: Sequence[str]
) -> dict[str, list[Served]]:
    """Feedback id → what ``digests`` answered, shown or not, to the request that it was given on.

    What others answered is left out.
    """
    wanted = pa.table({"feedback_id": strings(sorted(set(feedback_ids)))})
    with incoming(store.con, wanted):
        rows = store.rows(_SERVED, {"use_case": use_case, "digests": list(digests)})
    found: dict[str, list[Served]] = {}
    for feedback_id, prediction_id, digest, shown, probabilities in rows:
        one = Served(prediction_id, digest, shown, json.loads(probabilities))
        found.setdefault(feedback_id, []).append(one)
    return found


def drawn(store: Store, use_case: str, example_ids: Iterable[str]) -> dict[str, float]:
    """Example id → the probability with which it was drawn for an audit, where it was."""
    wanted = pa.table({"item_id": strings(sorted(set(example_ids)))})
    with incoming(store.con, wanted):
        return dict(store.rows(_DRAWN, {"use_case": use_case}))


def newest_requests(store: Store, use_case: str, *, newest: int) -> dict[str, str]:
    """Prediction id → text of the newest answers."""
    return dict(store.rows(_NEWEST_REQUESTS, {"use_case": use_case, "newest": newest}))
