"""Migrations from the thirteenth on; `flywheel.store.migrations` says how they are applied."""

from __future__ import annotations

# What nights measured before this table was there is known by its digest; an alias that was moved
# by hand measured nothing. Their files are recorded once they were verified.
_0013_MEASURED_VERSIONS = """
CREATE TABLE measured_versions (
    use_case VARCHAR,
    digest VARCHAR,
    version VARCHAR,
    measured_at TIMESTAMPTZ NOT NULL,
    verdict VARCHAR,
    folder_sha256 VARCHAR,
    files JSON,
    PRIMARY KEY (use_case, digest, version)
);
INSERT INTO measured_versions
SELECT use_case, digest, '', now(), NULL, NULL, NULL
FROM (
    SELECT use_case, digest FROM nights
    UNION SELECT use_case, digest FROM promotions WHERE action <> 'moved_by_hand'
    UNION SELECT use_case, digest FROM questions
    UNION SELECT use_case, digest FROM trials
    UNION SELECT use_case, digest FROM scores
)
WHERE digest IS NOT NULL;
"""

# Who spoke on a row, and whether it is bet on, is decided when it comes, and stays so when ids
# give way to random words.
_0014_EVIDENCE_CUSTOMERS = """
ALTER TABLE evidence ADD COLUMN customers VARCHAR[];
ALTER TABLE evidence ADD COLUMN counted BOOLEAN;
"""

_0015_LOOKED_AT = """
CREATE TABLE looked_at (
    use_case VARCHAR,
    snapshot_id VARCHAR,
    "at" TIMESTAMPTZ NOT NULL,
    who VARCHAR NOT NULL,
    PRIMARY KEY (use_case, snapshot_id)
);
"""

# A snapshot's id is its content, so that a later night may take the same one again. When it was
# first taken says neither which is the newest, nor when a reaction was seen. A home of before is
# told by its nights in which order its snapshots were taken.
_0016_ORDER_OF_SNAPSHOTS = """
ALTER TABLE snapshots ADD COLUMN number BIGINT;
UPDATE snapshots SET number = taken.number
FROM (
    SELECT
        s.rowid AS place,
        row_number() OVER (
            PARTITION BY s.use_case
            ORDER BY greatest(s.committed_at, n.last_taken), s.snapshot_id DESC
        ) AS number
    FROM snapshots AS s
    LEFT JOIN (
        SELECT use_case, snapshot_id, max(as_of) AS last_taken
        FROM nights
        GROUP BY use_case, snapshot_id
    ) AS n USING (use_case, snapshot_id)
) AS taken
WHERE snapshots.rowid = taken.place;
ALTER TABLE consumed ADD COLUMN consumed_at TIMESTAMPTZ;
UPDATE consumed SET consumed_at = s.committed_at
FROM snapshots AS s
WHERE s.use_case = consumed.use_case AND s.snapshot_id = consumed.snapshot_id;
"""

_0017_SET_ASIDE = """
CREATE TABLE set_aside (
    use_case VARCHAR,
    feedback_id VARCHAR,
    "at" TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (use_case, feedback_id)
);
"""

# What was called the exam is called the holdout, as elsewhere in the field.
_0018_HOLDOUT = """
ALTER TABLE snapshots RENAME COLUMN exam TO holdout;
UPDATE splits SET split = 'holdout' WHERE split = 'exam';
UPDATE snapshot_rows SET split = 'holdout' WHERE split = 'exam';
UPDATE steps SET rule = replace(rule, 'exam', 'holdout')
WHERE rule IN ('exam', 'gold_outside_exam');
UPDATE drops SET reason = replace(reason, 'exam', 'holdout')
WHERE reason IN ('exam', 'gold_outside_exam');
UPDATE nights SET
    reasons = CAST(regexp_replace(
        CAST(reasons AS VARCHAR), '"exam_(size|empty|too_small|budget)"', '"holdout_\\1"', 'g'
    ) AS JSON),
    facts = CAST(regexp_replace(
        CAST(facts AS VARCHAR), '"exam_(examples|memory_mb)"', '"holdout_\\1"', 'g'
    ) AS JSON);
"""

# What a reaction counts for is decided by what was known of reactions when it came.
_0019_EVIDENCE_WEIGHTS = """
ALTER TABLE evidence ADD COLUMN won_weight DOUBLE;
ALTER TABLE evidence ADD COLUMN lost_weight DOUBLE;
"""

# By which contract a row was refused; none of earlier ones.
_0020_EDITION = "ALTER TABLE quarantine ADD COLUMN edition INTEGER"

# A question took 2**-number of the holdout's budget before it was kept what it took. What a trial
# had left went to the next one, whose level then held it.
_0021_SHARES = """
ALTER TABLE questions ADD COLUMN share DOUBLE;
ALTER TABLE questions ADD COLUMN kept BOOLEAN;
ALTER TABLE trials ADD COLUMN adds_up BOOLEAN;
UPDATE questions SET share = pow(2, -number) WHERE alpha IS NOT NULL;
"""

# What computed an answer: torch, or OpenVINO. Of earlier ones it is not told; it was torch.
_0022_RUNTIME = "ALTER TABLE scores ADD COLUMN runtime VARCHAR"

NEWER: tuple[tuple[str, str], ...] = (
    ("0013-measured-versions", _0013_MEASURED_VERSIONS),
    ("0014-evidence-customers", _0014_EVIDENCE_CUSTOMERS),
    ("0015-looked-at", _0015_LOOKED_AT),
    ("0016-order-of-snapshots", _0016_ORDER_OF_SNAPSHOTS),
    ("0017-set-aside", _0017_SET_ASIDE),
    ("0018-holdout", _0018_HOLDOUT),
    ("0019-evidence-weights", _0019_EVIDENCE_WEIGHTS),
    ("0020-edition", _0020_EDITION),
    ("0021-shares", _0021_SHARES),
    ("0022-runtime", _0022_RUNTIME),
)
