"""What is counted before a night: one query each, none of which reads the texts of history.

Feedback is told by small columns (the number made from its id, its source, when it came); only of
what those choose is the rest read.
"""

from __future__ import annotations

import json
import math

from flywheel.config import UseCase
from flywheel.evaluation import rouge
from flywheel.gate.comparison import won
from flywheel.gate.power import LabelUncertainty, Standing
from flywheel.ingestion.labeled_rows import SOURCE, UNNAMED
from flywheel.records.answers import top
from flywheel.store.nights import fresh_units, reaction_fates, trials
from flywheel.store.warehouse import Store

_CLASSES = """
SELECT
    label,
    count(*)
FROM snapshot_rows
WHERE use_case = $use_case AND snapshot_id = $snapshot AND split = $split AND label IS NOT NULL
GROUP BY label
"""
# A snapshot that somebody was taken out of since was judged all the same where its training rows
# are as they were, in number and content, and the holdout has no more rows: to train on them again
# would ask the holdout once more about what it has answered.
_STANDING = """
WITH mine AS (SELECT * FROM nights WHERE use_case = $use_case),
lessons AS MATERIALIZED (
    SELECT
        snapshot_id,
        count(*) AS rows,
        bit_xor(hash(example_id, label, round(weight, 6), excluded)) AS content
    FROM snapshot_rows
    WHERE
        use_case = $use_case
        AND split = 'train'
        AND snapshot_id IN (
            SELECT $snapshot UNION SELECT new_snapshot_id FROM rewrites WHERE use_case = $use_case
        )
    GROUP BY snapshot_id
),
same_lesson AS (
    SELECT r.snapshot_id, l.rows
    FROM rewrites AS r
    JOIN lessons AS l ON l.snapshot_id = r.new_snapshot_id
    JOIN lessons AS tonight USING (rows, content)
    WHERE r.use_case = $use_case AND tonight.snapshot_id = $snapshot
),
judged AS (
    SELECT m.as_of, m.facts
    FROM mine AS m
    LEFT JOIN same_lesson AS l USING (snapshot_id)
    WHERE
        m.digest IS NOT NULL
        AND coalesce(json_extract_string(m.facts, '$.learned_from'), m.snapshot_id) = m.snapshot_id
        AND (
            m.snapshot_id = $snapshot
            OR (
                CAST(json_extract_string(m.facts, '$.train_examples') AS BIGINT) = l.rows
                AND CAST(json_extract_string(m.facts, '$.holdout_examples') AS BIGINT) >= (
                    SELECT holdout FROM snapshots
                    WHERE use_case = $use_case AND snapshot_id = $snapshot
                )
            )
        )
),
asked AS (SELECT * FROM questions WHERE use_case = $use_case),
challenges AS (SELECT * FROM trials WHERE use_case = $use_case AND kind = 'challenge')
SELECT
    (SELECT epoch_us(max(as_of)) FROM judged),
    (SELECT arg_max(json_extract_string(facts, '$.settings'), as_of) FROM judged),
    (SELECT count(*) > 0 FROM retrains WHERE use_case = $use_case AND landed_in IS NULL),
    (SELECT count(*) > 0 FROM promotions WHERE use_case = $use_case)
    OR (SELECT count(*) > 0 FROM mine WHERE outcome = 'promoted'),
    (
        SELECT CAST(coalesce(
            json_extract_string(facts, '$.trained_examples'),
            json_extract_string(facts, '$.train_examples')
        ) AS BIGINT)
        FROM mine
        WHERE outcome = 'promoted'
        ORDER BY as_of DESC
        LIMIT 1
    ),
    (SELECT coalesce(max(number), 0) FROM asked),
    (SELECT coalesce(max(number), 0) FROM challenges),
    (
        SELECT alpha
        FROM challenges
        WHERE ended_as_of IS NULL
        ORDER BY started_as_of DESC
        LIMIT 1
    )
"""
_SOURCES = """
SELECT source, count(*) AS rows
FROM feedback
WHERE use_case = $use_case
GROUP BY source
ORDER BY rows DESC, source
"""
_OVER_LIMIT = """
SELECT count(*)
FROM drops
WHERE use_case = $use_case AND snapshot_id = $snapshot AND reason = 'over_limit'
"""
# as `flywheel.influence.speakers` has it
_RATERS = """
WITH rows_of AS (
    SELECT label, confidence, unnest(feedback_ids) AS feedback_id, len(feedback_ids) AS votes
    FROM snapshot_rows
    WHERE use_case = $use_case AND snapshot_id = $snapshot AND split = 'train'
)
SELECT
    r.label,
    count(DISTINCT CASE
        -- no column of the file said who labeled
        WHEN f.source = $init AND regexp_full_match(f.rater_id, $unnamed) THEN NULL
        WHEN
            starts_with(f.feedback_id, f.customer_id || '/')
            AND (f.rater_id = f.customer_id OR starts_with(f.rater_id, f.customer_id || '/'))
        THEN concat(f.source, chr(31), f.customer_id)
        ELSE f.rater_id
    END)
FROM rows_of AS r
JOIN feedback AS f ON f.feedback_key = md5_number_lower(r.feedback_id)
WHERE f.use_case = $use_case AND f.feedback_id = r.feedback_id AND r.label IS NOT NULL
GROUP BY r.label
"""
# Feedback that ended in a tie is no example, and leaving it out would make raters look agreed.
_PAIRS = """
WITH told AS (
    SELECT example_id AS item, unnest(feedback_ids) AS feedback_id
    FROM snapshot_rows
    WHERE
        use_case = $use_case
        AND snapshot_id = $snapshot
        AND split <> 'holdout'
        AND len(feedback_ids) > 1
    UNION ALL
    SELECT NULL, feedback_id
    FROM drops
    WHERE use_case = $use_case AND snapshot_id = $snapshot AND reason = 'disagreement'
),
given AS (
    SELECT
        t.item,
        f.kind,
        f.value,
        f.text,
        f.prediction_id
    FROM told AS t
    JOIN feedback AS f ON f.feedback_key = md5_number_lower(t.feedback_id)
    WHERE
        f.use_case = $use_case
        AND f.feedback_id = t.feedback_id
        AND f.kind IN ('accept', 'correct', 'label')
),
votes AS (
    SELECT
        coalesce(g.item, p.text, g.text) AS item,
        CASE WHEN g.kind = 'accept' THEN p.label ELSE g.value END AS label
    FROM given AS g
    LEFT JOIN (
        SELECT prediction_id, text, label
        FROM predictions
        WHERE use_case = $use_case AND prediction_key IN (
            SELECT md5_number_lower(prediction_id) FROM given WHERE prediction_id IS NOT NULL
        )
    ) AS p ON p.prediction_id = g.prediction_id
),
counted AS (SELECT item, label, count(*) AS votes FROM votes GROUP BY item, label),
texts AS (
    SELECT
        item,
        sum(votes) AS votes,
        sum(votes * (votes - 1)) AS agreeing
    FROM counted
    GROUP BY item
)
SELECT
    count(*),
    coalesce(sum(1 - agreeing / (votes * (votes - 1))), 0)
FROM texts
WHERE votes > 1
"""
_DOUBT = """
SELECT
    count(*) FILTER (WHERE split = 'train'),
    count(*) FILTER (WHERE split = 'train' AND len(feedback_ids) = 1),
    coalesce(avg(1 - confidence) FILTER (WHERE split = 'train'), 0),
    coalesce(sum(len(feedback_ids)), 0)
    + (SELECT count(*) FROM drops WHERE use_case = $use_case AND snapshot_id = $snapshot)
FROM snapshot_rows
WHERE use_case = $use_case AND snapshot_id = $snapshot
"""
# The last comparison that was asked for; where none was, the last two challengers.
_ANSWERS = """
WITH judged AS (
    SELECT digest, max(as_of) AS as_of
    FROM nights
    WHERE use_case = $use_case AND digest IS NOT NULL
    GROUP BY digest
),
compared AS (
    SELECT digest, champion_digest AS other, as_of, 0 AS choice
    FROM questions
    WHERE use_case = $use_case
    UNION ALL
    SELECT digest, lag(digest) OVER (ORDER BY as_of), as_of, 1
    FROM judged
),
last AS (
    SELECT digest, other
    FROM compared
    WHERE digest <> other
    ORDER BY choice, as_of DESC
    LIMIT 1
)
SELECT
    r.label,
    ours.probabilities,
    theirs.probabilities
FROM last
JOIN scores AS ours ON ours.use_case = $use_case AND ours.digest = last.digest
JOIN scores AS theirs
    ON theirs.use_case = $use_case
    AND theirs.digest = last.other
    AND theirs.example_id = ours.example_id
JOIN snapshot_rows AS r ON r.use_case = $use_case AND r.example_id = ours.example_id
WHERE r.snapshot_id = $snapshot AND r.split = 'holdout'
"""


def standing(store: Store, use_case: UseCase, snapshot_id: str) -> Standing:
    """Where the use case stands before a night on a snapshot that is committed."""
    here = {"use_case": use_case.name, "snapshot": snapshot_id}
    judged_us, judged_by, wanted, champion, rows, questions, begun, alpha = store.rows(
        _STANDING, here
    )[0]
    fresh = fresh_units.count(store, use_case)
    return Standing(
        classes=dict(store.rows(_CLASSES, here | {"split": "train"})),
        holdout=dict(store.rows(_CLASSES, here | {"split": "holdout"})),
        judged=None if judged_us is None else store.moment(judged_us),
        judged_by=judged_by,
        retrain_wanted=wanted,
        champion=champion,
        champion_rows=rows,
        questions=questions,
        unspent=trials.unspent(trials.asked(store, use_case.name)),
        told=trials.told(store, use_case.name),
        trials=begun,
        open_alpha=None if alpha is None else _in_hand(store, use_case),
        nights=fresh.nights,
        fresh_units=fresh.units,
        fresh_own=fresh.own,
        fresh_by_customer=fresh.by_customer,
        won_weight=reaction_fates.least_won(store, use_case),
    )


def _in_hand(store: Store, use_case: UseCase) -> float:
    """What the levels that are on trial have become, under 1."""
    every = trials.trials(store, use_case.name, kind="challenge")
    running = next(one for one in every if one.ended_as_of is None)
    become = trials.in_hand(trials.as_trial(store, use_case.name, running), use_case.gate)
    return min(math.exp(min(0.0, become)), 1 - 1e-9)


def sources(store: Store, use_case: str) -> dict[str, int]:
    """Source → how many reactions ever came from it, the most first."""
    return dict(store.rows(_SOURCES, {"use_case": use_case}))


def over_limit(store: Store, use_case: str, snapshot_id: str) -> int:
    """How many reactions a snapshot left out because of `curation.max_examples`."""
    here = {"use_case": use_case, "snapshot": snapshot_id}
    return int(store.rows(_OVER_LIMIT, here)[0][0])


def raters(store: Store, use_case: str, snapshot_id: str) -> dict[str, int]:
    """Label → how many people's reactions made a snapshot's training examples of it.

    Rows of a file in which nobody is named count for nobody.
    """
    told = {"use_case": use_case, "snapshot": snapshot_id, "init": SOURCE, "unnamed": UNNAMED}
    return dict(store.rows(_RATERS, told))


def label_uncertainty(store: Store, use_case: str, snapshot_id: str) -> LabelUncertainty:
    """How sure a snapshot's labels are."""
    here = {"use_case": use_case, "snapshot": snapshot_id}
    rows, single, unsure, reactions = store.rows(_DOUBT, here)[0]
    texts, disagreeing = store.rows(_PAIRS, here)[0]
    return LabelUncertainty(rows, single, unsure, reactions, texts, float(disagreeing))


def differing(
    store: Store, use_case: str, snapshot_id: str, *, written_tie: float | None = None
) -> tuple[int, int]:
    """Holdout rows that the last two compared models answered, and those that only one got right.

    With ``written_tie`` answers are written, and those rows are meant on which one did better by
    more than that in ROUGE-L.
    """
    found = store.rows(_ANSWERS, {"use_case": use_case, "snapshot": snapshot_id})

    def mark(answer: str, label: str) -> float:
        if written_tie is None:
            return float(_top(answer) == label)
        return rouge.share(_top(answer), [label]).rouge_l

    gains = [
        won(mark(ours, label), mark(theirs, label), tie_within=written_tie or 0.0)
        for label, ours, theirs in found
    ]
    return len(gains), sum(gain != 0 for gain in gains)


def _top(probabilities: str) -> str:
    return top(json.loads(probabilities))
