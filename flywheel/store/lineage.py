"""Where a version's labels came from, and what became of one feedback: one query each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flywheel.store.warehouse import Store

SHOWN = 20

# A few feedbacks are found by the number made from their id, which reads faster than the id; making
# a million such numbers costs more than it saves.
# A snapshot from which a customer was taken out lives on under another id: ``rewrites``.
_VERSION = """
WITH night AS (
    SELECT
        epoch_us(as_of) AS as_of,
        outcome,
        snapshot_id,
        digest
    FROM nights
    WHERE use_case = $use_case
        AND digest IS NOT NULL
        AND json_extract_string(facts, '$.version') = $version
    ORDER BY nights.as_of
    LIMIT 1
),
learned AS (
    SELECT coalesce((SELECT snapshot_id FROM night), $snapshot_id) AS snapshot_id
),
rewrite AS (
    SELECT
        r.new_snapshot_id,
        r.certificate_id
    FROM rewrites AS r
    JOIN learned USING (snapshot_id)
    WHERE r.use_case = $use_case
),
here AS (
    SELECT
        CASE
            WHEN EXISTS (SELECT 1 FROM rewrite) THEN (SELECT new_snapshot_id FROM rewrite)
            ELSE (SELECT snapshot_id FROM learned)
        END AS snapshot_id
),
example AS MATERIALIZED (
    SELECT
        s.example_id,
        s.label,
        s.confidence,
        s.weight,
        s.split,
        s.feedback_ids
    FROM snapshot_rows AS s
    JOIN here USING (snapshot_id)
    WHERE s.use_case = $use_case
),
vote AS (
    SELECT
        unnest(feedback_ids) AS feedback_id
    FROM example
),
made AS MATERIALIZED (
    SELECT
        f.rater_id,
        f.customer_id,
        f.source
    FROM vote
    JOIN feedback AS f
        ON f.use_case = $use_case AND f.feedback_id = vote.feedback_id
),
shown AS (
    SELECT *
    FROM example
    ORDER BY split = 'holdout', example_id
    LIMIT $shown
),
shown_vote AS (
    SELECT
        e.example_id,
        to_json(list({
            'feedback_id': f.feedback_id,
            'kind': f.kind,
            'rater_id': f.rater_id,
            'source': f.source,
            'text': CASE WHEN $texts THEN coalesce(p.text, f.text) END
        } ORDER BY f.feedback_id)) AS feedback
    FROM (SELECT example_id, unnest(feedback_ids) AS feedback_id FROM shown) AS e
    JOIN feedback AS f
        ON f.use_case = $use_case AND f.feedback_key = md5_number_lower(e.feedback_id)
        AND f.feedback_id = e.feedback_id
    LEFT JOIN predictions AS p
        ON p.use_case = f.use_case AND p.prediction_id = f.prediction_id
    GROUP BY e.example_id
)
SELECT
    (SELECT to_json(night) FROM night),
    (SELECT snapshot_id FROM learned),
    (SELECT snapshot_id FROM here),
    (SELECT certificate_id FROM rewrite),
    (SELECT json_group_object(split, rows) FROM (
        SELECT split, count(*) AS rows FROM example GROUP BY split
    )),
    (SELECT count(*) FROM made),
    (SELECT count(*) FROM (SELECT rater_id FROM made GROUP BY rater_id)),
    (SELECT count(customer_id) FROM (SELECT customer_id FROM made GROUP BY customer_id)),
    (SELECT json_group_object(source, rows) FROM (
        SELECT source, count(*) AS rows FROM made GROUP BY source ORDER BY rows DESC, source
    )),
    (SELECT to_json(list({
        'rule': s.rule,
        'on': s.is_on,
        'seen': s.seen,
        'dropped': s.dropped,
        'changed': s.changed,
        'detail': s.detail
    } ORDER BY s.position)) FROM steps AS s JOIN here USING (snapshot_id)
        WHERE s.use_case = $use_case),
    (SELECT json_group_object(reason, rows) FROM (
        SELECT d.reason, count(*) AS rows
        FROM drops AS d JOIN here USING (snapshot_id)
        WHERE d.use_case = $use_case
        GROUP BY d.reason ORDER BY rows DESC, d.reason
    )),
    (SELECT to_json(list({
        'example_id': s.example_id,
        'label': s.label,
        'confidence': s.confidence,
        'weight': s.weight,
        'split': s.split,
        'feedback': v.feedback
    } ORDER BY s.split = 'holdout', s.example_id)) FROM shown AS s LEFT JOIN shown_vote AS v
        USING (example_id))
"""

_FEEDBACK = """
WITH this AS (
    SELECT
        f.*,
        p.prediction_id IS NOT NULL AS is_joined,
        p.label AS served_label,
        p.model_version AS served_by,
        coalesce(p.text, f.text) AS about
    FROM feedback AS f
    LEFT JOIN predictions AS p
        ON p.use_case = f.use_case AND p.prediction_id = f.prediction_id
    WHERE f.use_case = $use_case
        AND f.feedback_key = md5_number_lower($feedback_id)
        AND f.feedback_id = $feedback_id
),
used AS MATERIALIZED (
    SELECT
        snapshot_id,
        example_id,
        label,
        confidence,
        weight,
        split
    FROM snapshot_rows
    WHERE use_case = $use_case AND list_contains(feedback_ids, $feedback_id)
),
dropped AS MATERIALIZED (
    SELECT
        snapshot_id,
        reason
    FROM drops
    WHERE use_case = $use_case AND feedback_id = $feedback_id
),
-- a night in which a challenger is judged again, on trial, taught it nothing
trained AS (
    SELECT
        arg_max(json_extract_string(facts, '$.version'), as_of) AS version,
        arg_max(outcome, as_of) AS outcome,
        min(as_of) AS as_of,
        arg_min(snapshot_id, as_of) AS snapshot_id
    FROM nights
    WHERE use_case = $use_case AND digest IS NOT NULL
    GROUP BY digest
),
learned AS (
    SELECT
        t.version,
        t.outcome,
        epoch_us(t.as_of) AS as_of,
        u.split,
        u.label
    FROM trained AS t
    LEFT JOIN rewrites AS r
        ON r.use_case = $use_case AND r.snapshot_id = t.snapshot_id
    JOIN used AS u
        ON u.snapshot_id = coalesce(r.new_snapshot_id, t.snapshot_id)
)
SELECT
    (SELECT to_json({
        'feedback_id': feedback_id,
        'kind': kind,
        'value': CASE WHEN $texts OR kind <> 'comment' THEN value END,
        'prediction_id': prediction_id,
        'served_label': served_label,
        'served_by': served_by,
        'rater_id': rater_id,
        'customer_id': customer_id,
        'group_id': group_id,
        'source': source,
        'given_at': epoch_us(given_at),
        'ingested_at': epoch_us(ingested_at),
        'file_sha256': file_sha256,
        'row_number': row_number,
        'is_parked': NOT is_joined AND text IS NULL,
        'text': CASE WHEN $texts THEN about END
    }) FROM this),
    (SELECT to_json(list({
        'snapshot_id': u.snapshot_id,
        'committed_at': epoch_us(s.committed_at),
        'example_id': u.example_id,
        'label': u.label,
        'confidence': u.confidence,
        'weight': u.weight,
        'split': u.split
    } ORDER BY s.committed_at, u.snapshot_id)) FROM used AS u LEFT JOIN snapshots AS s
        ON s.use_case = $use_case AND s.snapshot_id = u.snapshot_id),
    (SELECT to_json(list({
        'snapshot_id': d.snapshot_id,
        'committed_at': epoch_us(s.committed_at),
        'reason': d.reason
    } ORDER BY s.committed_at, d.snapshot_id)) FROM dropped AS d LEFT JOIN snapshots AS s
        ON s.use_case = $use_case AND s.snapshot_id = d.snapshot_id),
    (SELECT to_json(list({
        'version': version,
        'outcome': outcome,
        'as_of': as_of,
        'split': split,
        'label': label
    } ORDER BY as_of)) FROM learned)
"""


# the first night of each version; what it went on from, and its snapshot as it is now
_LINE = """
SELECT
    n.digest,
    json_extract_string(n.facts, '$.version'),
    json_extract_string(n.facts, '$.parent'),
    CASE WHEN r.snapshot_id IS NULL THEN n.snapshot_id ELSE r.new_snapshot_id END
FROM nights AS n
LEFT JOIN rewrites AS r
    ON r.use_case = n.use_case AND r.snapshot_id = n.snapshot_id
WHERE n.use_case = $use_case AND n.digest IS NOT NULL
QUALIFY row_number() OVER (PARTITION BY n.digest ORDER BY n.as_of) = 1
"""

_UNION = """
SELECT
    count(DISTINCT example_id),
    count(DISTINCT example_id) FILTER (snapshot_id = $own),
FROM snapshot_rows
WHERE use_case = $use_case AND split = 'train' AND list_contains($snapshots, snapshot_id)
"""


@dataclass(frozen=True)
class Ancestor:
    """A version as the nights know it; ``snapshot_id`` None: nothing was left of it."""

    digest: str
    version: str
    parent: str | None
    snapshot_id: str | None


def versions(store: Store, use_case: str) -> dict[str, Ancestor]:
    """Every version that a night judged, by digest."""
    return {row[0]: Ancestor(*row) for row in store.rows(_LINE, {"use_case": use_case})}


def union(store: Store, use_case: str, own: str | None, others: Sequence[str]) -> tuple[int, int]:
    """Training examples of all these snapshots together, and of its own alone."""
    names = [name for name in (own, *others) if name is not None]
    given = {"use_case": use_case, "own": own, "snapshots": names}
    ((together, alone),) = store.rows(_UNION, given)
    return together, alone


def of_version(
    store: Store,
    use_case: str,
    version: str,
    *,
    snapshot_id: str | None = None,
    texts: bool = False,
    shown: int = SHOWN,
) -> dict[str, Any] | None:
    """A version → its snapshot → examples → feedback, people, sources, and the rules applied.

    Counts are over the whole snapshot, ``examples`` are the first ``shown``. ``snapshot_id`` is
    for a version whose night is not on record. None when neither says which snapshot it is.
    """
    (row,) = store.rows(
        _VERSION,
        {
            "use_case": use_case,
            "version": version,
            "snapshot_id": snapshot_id,
            "shown": shown,
            "texts": texts,
        },
    )
    night, learned, here, certificate, splits, votes, raters, customers, *rest = row
    sources, steps, reasons, examples = (json.loads(part) if part else None for part in rest)
    if learned is None:
        return None
    found = json.loads(night) if night else {}
    return {
        "use_case": use_case,
        "version": version,
        "night": found and {"as_of": _iso(found["as_of"]), "outcome": found["outcome"]},
        "digest": found.get("digest"),
        "snapshot_id": here,
        "rewritten": certificate and {"snapshot_id": learned, "certificate_id": certificate},
        "example_counts": json.loads(splits) if splits else {},
        "feedback_count": votes,
        "people": {"raters": raters, "customers": customers},
        "sources": sources or {},
        "rules": steps or [],
        "left_out": reasons or {},
        "examples": examples or [],
    }


def of_feedback(
    store: Store, use_case: str, feedback_id: str, *, texts: bool = False
) -> dict[str, Any] | None:
    """A feedback → why it was or was not used in each snapshot → the versions made of those.

    None when there is no such feedback. ``learned_from`` is empty for what only was in a holdout.
    """
    given = {"use_case": use_case, "feedback_id": feedback_id, "texts": texts}
    (row,) = store.rows(_FEEDBACK, given)
    this, used, dropped, versions = (json.loads(part) if part else None for part in row)
    if this is None:
        return None
    for name in ("given_at", "ingested_at"):
        this[name] = _iso(this[name])
    for entry in [*(used or []), *(dropped or [])]:
        entry["committed_at"] = entry["committed_at"] and _iso(entry["committed_at"])
    for entry in versions or []:
        entry["as_of"] = _iso(entry["as_of"])
    return {
        "use_case": use_case,
        "feedback": this,
        "used": used or [],
        "left_out": dropped or [],
        "versions": versions or [],
    }


def _iso(microseconds: int) -> str:
    return Store.moment(microseconds).isoformat()
