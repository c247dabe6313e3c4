"""What of a home's files the warehouse still needs, and since when it has what the others held."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from flywheel.store import snapshot_order
from flywheel.store.warehouse import Store

_TAKEN_IN = """
SELECT f.file_sha256, f.file
FROM ingested_files AS f
WHERE
    f.use_case = $use_case
    AND f.ingested_at < $before::TIMESTAMPTZ
    AND NOT EXISTS (
        SELECT 1
        FROM quarantine AS q
        WHERE q.use_case = f.use_case AND q.file_sha256 = f.file_sha256
    )
"""
_OPEN_TRIALS = """
SELECT digest, champion_digest, snapshot_id, adapter
FROM trials
WHERE use_case = $use_case AND ended_as_of IS NULL
"""
_YOUNG_SNAPSHOTS = """
SELECT snapshot_id
FROM snapshots
WHERE use_case = $use_case AND committed_at >= $before::TIMESTAMPTZ
UNION
SELECT snapshot_id
FROM nights
WHERE use_case = $use_case AND as_of >= $before::TIMESTAMPTZ AND snapshot_id IS NOT NULL
"""
_USE_CASES = """
SELECT use_case FROM nights
UNION SELECT use_case FROM promotions
UNION SELECT use_case FROM trials
UNION SELECT use_case FROM snapshots
"""


@dataclass(frozen=True)
class OpenTrials:
    """What trials that have not ended stand on."""

    digests: frozenset[str]
    snapshots: frozenset[str]
    adapters: frozenset[str]


def use_cases(store: Store) -> set[str]:
    """Those that had a night, a champion, a trial or a snapshot."""
    return {name for (name,) in store.rows(_USE_CASES, [])}


def taken_in(store: Store, use_case: str, *, before: datetime) -> set[str]:
    """The names in ``done/`` of files that were wholly taken in before that time.

    One with a row in quarantine is none of them: the row may be judged again.
    """
    rows = store.rows(_TAKEN_IN, {"use_case": use_case, "before": before})
    return {f"{sha256[:8]}-{file}" for sha256, file in rows}


def open_trials(store: Store, use_case: str) -> OpenTrials:
    """What is on trial now, and against what."""
    rows = store.rows(_OPEN_TRIALS, {"use_case": use_case})
    return OpenTrials(
        digests=frozenset(digest for row in rows for digest in row[:2]),
        snapshots=frozenset(row[2] for row in rows),
        adapters=frozenset(row[3] for row in rows),
    )


def young_snapshots(store: Store, use_case: str, *, before: datetime) -> set[str]:
    """The newest snapshot, and those that were made, or used by a night, since that time."""
    here = {"use_case": use_case}
    rows = store.rows(_YOUNG_SNAPSHOTS, here | {"before": before})
    return {name for (name,) in (*rows, *store.rows(snapshot_order.NEWEST, here))}
