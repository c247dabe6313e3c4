"""The warehouse's tables, as an append-only list of named migrations.

A migration and the record that it ran commit together, so a killed one is simply still pending.
Never edit one that has shipped: add another. All times are UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from flywheel.store.newer_migrations import NEWER

_CREATE_MIGRATIONS = """
CREATE TABLE IF NOT EXISTS migrations (
    name VARCHAR PRIMARY KEY,
    applied_at TIMESTAMPTZ NOT NULL
)
"""
_APPLIED = "SELECT name FROM migrations"
_RECORD = "INSERT INTO migrations VALUES (?, now())"

_0001_FEEDBACK = """
CREATE TABLE predictions (
    use_case VARCHAR,
    prediction_id VARCHAR,
    text VARCHAR NOT NULL,
    group_id VARCHAR NOT NULL,
    customer_id VARCHAR,
    label VARCHAR NOT NULL,
    probabilities JSON NOT NULL,
    model_version VARCHAR NOT NULL,
    digest VARCHAR NOT NULL,
    predicted_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (use_case, prediction_id)
);
CREATE TABLE feedback (
    use_case VARCHAR,
    feedback_id VARCHAR,
    kind VARCHAR NOT NULL,
    value VARCHAR,
    prediction_id VARCHAR,
    text VARCHAR,
    group_id VARCHAR,
    customer_id VARCHAR,
    rater_id VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    given_at TIMESTAMPTZ NOT NULL,
    ingested_at TIMESTAMPTZ NOT NULL,
    file_sha256 VARCHAR NOT NULL,
    row_number BIGINT NOT NULL,
    PRIMARY KEY (use_case, feedback_id)
);
CREATE TABLE quarantine (
    use_case VARCHAR,
    file VARCHAR NOT NULL,
    file_sha256 VARCHAR,
    row_number BIGINT,
    reason VARCHAR NOT NULL,
    raw VARCHAR NOT NULL,
    PRIMARY KEY (use_case, file_sha256, row_number)
);
CREATE TABLE ingested_files (
    use_case VARCHAR,
    file_sha256 VARCHAR,
    file VARCHAR NOT NULL,
    read BIGINT NOT NULL,
    ingested BIGINT NOT NULL,
    duplicate BIGINT NOT NULL,
    quarantined BIGINT NOT NULL,
    parked BIGINT NOT NULL,
    ingested_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (use_case, file_sha256)
);
"""

_0002_SNAPSHOTS = """
CREATE TABLE splits (
    use_case VARCHAR,
    group_id VARCHAR,
    split VARCHAR NOT NULL,
    PRIMARY KEY (use_case, group_id)
);
CREATE TABLE snapshots (
    use_case VARCHAR,
    snapshot_id VARCHAR,
    committed_at TIMESTAMPTZ NOT NULL,
    train BIGINT NOT NULL,
    validation BIGINT NOT NULL,
    exam BIGINT NOT NULL,
    PRIMARY KEY (use_case, snapshot_id)
);
CREATE TABLE snapshot_rows (
    use_case VARCHAR,
    snapshot_id VARCHAR,
    example_id VARCHAR,
    label VARCHAR NOT NULL,
    confidence DOUBLE NOT NULL,
    split VARCHAR NOT NULL,
    feedback_ids VARCHAR[] NOT NULL,
    PRIMARY KEY (use_case, snapshot_id, example_id)
);
CREATE TABLE drops (
    use_case VARCHAR,
    snapshot_id VARCHAR,
    feedback_id VARCHAR,
    reason VARCHAR NOT NULL,
    PRIMARY KEY (use_case, snapshot_id, feedback_id)
);
CREATE TABLE consumed (
    use_case VARCHAR,
    feedback_id VARCHAR,
    snapshot_id VARCHAR NOT NULL,
    PRIMARY KEY (use_case, feedback_id)
);
"""

_0003_NIGHTS = """
CREATE TABLE scores (
    use_case VARCHAR,
    digest VARCHAR,
    example_id VARCHAR,
    probabilities JSON NOT NULL,
    latency_ms DOUBLE NOT NULL,
    PRIMARY KEY (use_case, digest, example_id)
);
CREATE TABLE nights (
    use_case VARCHAR,
    as_of TIMESTAMPTZ,
    outcome VARCHAR NOT NULL,
    reasons JSON NOT NULL,
    facts JSON NOT NULL,
    snapshot_id VARCHAR,
    digest VARCHAR,
    recorded_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (use_case, as_of)
);
"""

# Tables that grow for ever lose their primary keys, whose upkeep costs by history. A number made
# from the id takes their place: new rows are told by it, and it reads a hundred times faster.
# ``seq`` orders feedback by when it became usable (null while parked), so that the newest are
# found without reading the rest.
_0004_SCALE = """
CREATE TABLE predictions_next (
    use_case VARCHAR NOT NULL,
    prediction_id VARCHAR NOT NULL,
    text VARCHAR NOT NULL,
    group_id VARCHAR NOT NULL,
    customer_id VARCHAR,
    label VARCHAR NOT NULL,
    probabilities JSON NOT NULL,
    model_version VARCHAR NOT NULL,
    digest VARCHAR NOT NULL,
    predicted_at TIMESTAMPTZ NOT NULL,
    prediction_key UBIGINT NOT NULL
);
INSERT INTO predictions_next
SELECT *, md5_number_lower(prediction_id) FROM predictions;
CREATE TABLE feedback_next (
    use_case VARCHAR NOT NULL,
    feedback_id VARCHAR NOT NULL USING COMPRESSION zstd,
    kind VARCHAR NOT NULL,
    value VARCHAR,
    prediction_id VARCHAR,
    text VARCHAR,
    group_id VARCHAR,
    customer_id VARCHAR,
    rater_id VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    given_at TIMESTAMPTZ NOT NULL,
    ingested_at TIMESTAMPTZ NOT NULL,
    file_sha256 VARCHAR NOT NULL,
    row_number BIGINT NOT NULL,
    feedback_key UBIGINT NOT NULL,
    seq BIGINT
);
INSERT INTO feedback_next
SELECT
    f.*,
    md5_number_lower(f.feedback_id),
    CASE
        WHEN f.text IS NOT NULL OR p.prediction_id IS NOT NULL
        THEN row_number() OVER (ORDER BY f.ingested_at, f.file_sha256, f.row_number)
    END
FROM feedback AS f
LEFT JOIN predictions AS p
    ON p.use_case = f.use_case AND p.prediction_id = f.prediction_id
ORDER BY f.ingested_at, f.file_sha256, f.row_number;
CREATE TABLE splits_next (
    use_case VARCHAR NOT NULL,
    group_id VARCHAR NOT NULL,
    split VARCHAR NOT NULL,
    group_key UBIGINT NOT NULL
);
INSERT INTO splits_next
SELECT use_case, group_id, split, md5_number_lower(group_id) FROM splits;
CREATE TABLE snapshot_rows_next (
    use_case VARCHAR NOT NULL,
    snapshot_id VARCHAR NOT NULL,
    example_id VARCHAR NOT NULL,
    label VARCHAR NOT NULL,
    confidence DOUBLE NOT NULL,
    split VARCHAR NOT NULL,
    feedback_ids VARCHAR[] NOT NULL
);
INSERT INTO snapshot_rows_next SELECT * FROM snapshot_rows;
CREATE TABLE drops_next (
    use_case VARCHAR NOT NULL,
    snapshot_id VARCHAR NOT NULL,
    feedback_id VARCHAR NOT NULL,
    reason VARCHAR NOT NULL
);
INSERT INTO drops_next SELECT * FROM drops;
CREATE TABLE consumed_next (
    use_case VARCHAR NOT NULL,
    feedback_id VARCHAR NOT NULL,
    snapshot_id VARCHAR NOT NULL,
    feedback_key UBIGINT NOT NULL
);
INSERT INTO consumed_next
SELECT use_case, feedback_id, snapshot_id, md5_number_lower(feedback_id) FROM consumed;
DROP TABLE predictions;
DROP TABLE feedback;
DROP TABLE splits;
DROP TABLE snapshot_rows;
DROP TABLE drops;
DROP TABLE consumed;
ALTER TABLE predictions_next RENAME TO predictions;
ALTER TABLE feedback_next RENAME TO feedback;
ALTER TABLE splits_next RENAME TO splits;
ALTER TABLE snapshot_rows_next RENAME TO snapshot_rows;
ALTER TABLE drops_next RENAME TO drops;
ALTER TABLE consumed_next RENAME TO consumed;
"""

_0005_WEIGHTS = """
ALTER TABLE snapshot_rows ALTER COLUMN label DROP NOT NULL;
ALTER TABLE snapshot_rows ADD COLUMN weight DOUBLE;
ALTER TABLE snapshot_rows ADD COLUMN excluded VARCHAR[];
ALTER TABLE snapshot_rows ADD COLUMN cluster_id VARCHAR;
CREATE TABLE steps (
    use_case VARCHAR,
    snapshot_id VARCHAR,
    position INTEGER,
    rule VARCHAR NOT NULL,
    is_on BOOLEAN NOT NULL,
    seen BIGINT NOT NULL,
    dropped BIGINT NOT NULL,
    changed BIGINT NOT NULL,
    detail VARCHAR NOT NULL,
    example VARCHAR,
    PRIMARY KEY (use_case, snapshot_id, position)
);
"""

_0006_FORGOTTEN = """
CREATE TABLE forgotten (
    use_case VARCHAR,
    name_hash VARCHAR,
    certificate_id VARCHAR NOT NULL,
    forgotten_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (use_case, name_hash)
);
CREATE TABLE rewrites (
    use_case VARCHAR,
    snapshot_id VARCHAR,
    new_snapshot_id VARCHAR,
    certificate_id VARCHAR NOT NULL,
    PRIMARY KEY (use_case, snapshot_id)
);
CREATE TABLE retrains (
    use_case VARCHAR,
    certificate_id VARCHAR,
    landed_in TIMESTAMPTZ,
    PRIMARY KEY (use_case, certificate_id)
);
"""

_0007_LABELLING = """
CREATE TABLE suspects (
    use_case VARCHAR,
    snapshot_id VARCHAR,
    example_id VARCHAR,
    score DOUBLE NOT NULL,
    PRIMARY KEY (use_case, snapshot_id, example_id)
);
CREATE TABLE audits (
    use_case VARCHAR,
    item_id VARCHAR,
    sampled_at TIMESTAMPTZ NOT NULL,
    probability DOUBLE NOT NULL,
    PRIMARY KEY (use_case, item_id)
);
"""

_0008_GATE = """
CREATE TABLE questions (
    use_case VARCHAR,
    as_of TIMESTAMPTZ,
    digest VARCHAR NOT NULL,
    champion_digest VARCHAR,
    number INTEGER NOT NULL,
    told INTEGER NOT NULL,
    alpha DOUBLE,
    rows INTEGER NOT NULL,
    decision VARCHAR,
    PRIMARY KEY (use_case, as_of)
);
CREATE TABLE trials (
    use_case VARCHAR,
    kind VARCHAR,
    digest VARCHAR,
    champion_digest VARCHAR,
    number INTEGER NOT NULL,
    alpha DOUBLE NOT NULL,
    snapshot_id VARCHAR NOT NULL,
    adapter VARCHAR NOT NULL,
    train_examples INTEGER NOT NULL,
    started_as_of TIMESTAMPTZ NOT NULL,
    ended_as_of TIMESTAMPTZ,
    ending VARCHAR,
    PRIMARY KEY (use_case, kind, digest, champion_digest)
);
CREATE TABLE evidence (
    use_case VARCHAR,
    digest VARCHAR,
    champion_digest VARCHAR,
    as_of TIMESTAMPTZ NOT NULL,
    example_id VARCHAR,
    group_id VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    challenger_right BOOLEAN NOT NULL,
    champion_right BOOLEAN NOT NULL,
    probability DOUBLE,
    PRIMARY KEY (use_case, digest, champion_digest, example_id)
);
CREATE TABLE promotions (
    use_case VARCHAR,
    number INTEGER,
    "at" TIMESTAMPTZ NOT NULL,
    action VARCHAR NOT NULL,
    version VARCHAR NOT NULL,
    digest VARCHAR NOT NULL,
    before VARCHAR,
    who VARCHAR NOT NULL,
    why VARCHAR NOT NULL,
    PRIMARY KEY (use_case, number)
);
"""

_0009_SERVING = """
CREATE TABLE shadow_answers (
    use_case VARCHAR NOT NULL,
    prediction_id VARCHAR NOT NULL,
    label VARCHAR NOT NULL,
    probabilities JSON NOT NULL,
    model_version VARCHAR NOT NULL,
    digest VARCHAR NOT NULL,
    answered_at TIMESTAMPTZ NOT NULL,
    prediction_key UBIGINT NOT NULL
);
"""

_0010_SERVED_EVIDENCE = """
ALTER TABLE evidence ADD COLUMN shown VARCHAR;
ALTER TABLE evidence ADD COLUMN recorded BOOLEAN;
ALTER TABLE evidence ADD COLUMN differs BOOLEAN;
"""

# What a trial's rows decided is spent. Of who is forgotten they stay, with random words for ids;
# what snapshots had seen until then is not bet on anew.
_0011_SPENT = """
ALTER TABLE trials ADD COLUMN seen_until TIMESTAMPTZ;
"""

_0012_SCORING_MEMORY = """
ALTER TABLE scores ADD COLUMN peak_memory_mb DOUBLE;
"""

MIGRATIONS: tuple[tuple[str, str], ...] = (
    ("0001-feedback", _0001_FEEDBACK),
    ("0002-snapshots", _0002_SNAPSHOTS),
    ("0003-nights", _0003_NIGHTS),
    ("0004-scale", _0004_SCALE),
    ("0005-weights", _0005_WEIGHTS),
    ("0006-forgotten", _0006_FORGOTTEN),
    ("0007-labelling", _0007_LABELLING),
    ("0008-gate", _0008_GATE),
    ("0009-serving", _0009_SERVING),
    ("0010-served-evidence", _0010_SERVED_EVIDENCE),
    ("0011-spent", _0011_SPENT),
    ("0012-scoring-memory", _0012_SCORING_MEMORY),
    *NEWER,
)


class Connection(Protocol):
    """The part of a DuckDB connection that a migration needs."""

    def execute(self, query: str, parameters: object = ...) -> Any:
        """Run a statement; its result can be fetched."""


@contextmanager
def transaction(con: Connection) -> Iterator[None]:
    """Commit everything in the block together, or nothing of it."""
    con.execute("BEGIN")
    finished = False
    try:
        yield
        finished = True
    finally:
        if not finished:
            con.execute("ROLLBACK")
    con.execute("COMMIT")


def is_behind(con: Connection) -> bool:
    """Whether a migration is pending; a read-only connection can be asked."""
    applied = {name for (name,) in con.execute(_APPLIED).fetchall()}
    return any(name not in applied for name, _ in MIGRATIONS)


def migrate(
    con: Connection, *, migrations: tuple[tuple[str, str], ...] = MIGRATIONS
) -> tuple[str, ...]:
    """Apply what is pending, in order; the names applied. A failing one leaves no trace."""
    con.execute(_CREATE_MIGRATIONS)
    applied = {name for (name,) in con.execute(_APPLIED).fetchall()}
    pending = tuple((name, sql) for name, sql in migrations if name not in applied)
    # a new warehouse is made in one step: each commit is written to the disk
    for together in (pending,) if not applied else ((one,) for one in pending):
        with transaction(con):
            for name, sql in together:
                con.execute(sql)
                con.execute(_RECORD, [name])
    return tuple(name for name, _ in pending)
