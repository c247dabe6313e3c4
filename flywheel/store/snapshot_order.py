"""In which order snapshots were taken, and which of them is the newest.

A snapshot's id is its content: where a night's examples are those of an earlier one again, as when
somebody takes back what they said, it is the same snapshot, and the newest. So that is told by a
number, and not by when it was first taken; and when a reaction was seen stands at the reaction.
"""

from __future__ import annotations

from datetime import datetime

from flywheel.records import Snapshot
from flywheel.store.migrations import Connection

NEWEST = """
SELECT snapshot_id
FROM snapshots
WHERE use_case = $use_case
ORDER BY number DESC
LIMIT 1
"""
_NEWEST_OTHER = """
SELECT arg_max(snapshot_id, number)
FROM snapshots
WHERE use_case = $use_case AND snapshot_id <> $old
"""
_ADD = """
INSERT OR IGNORE INTO snapshots VALUES ($use_case, $name, $at, $train, $validation, $holdout, 0)
"""
_IS_NEWEST = """
UPDATE snapshots SET number = (
    SELECT max(s.number) + 1 FROM snapshots AS s WHERE s.use_case = $use_case
)
WHERE use_case = $use_case AND snapshot_id = $name
"""
# Who looked at what comes after a snapshot looked at no more than the next one took.
_LOOKED_AT_NO_MORE = "DELETE FROM looked_at WHERE use_case = $use_case"
_COPY = """
INSERT OR IGNORE INTO snapshots
SELECT
    use_case,
    $new,
    committed_at,
    $train,
    $validation,
    $holdout,
    number
FROM snapshots
WHERE use_case = $use_case AND snapshot_id = $old
"""
# What is left may be a snapshot that was taken before.
_AS_NEW_AS = """
UPDATE snapshots SET number = greatest(number, (
    SELECT s.number FROM snapshots AS s WHERE s.use_case = $use_case AND s.snapshot_id = $old
))
WHERE use_case = $use_case AND snapshot_id = $new
"""


def take(con: Connection, use_case: str, snapshot: Snapshot, *, at: datetime) -> None:
    """Keep a snapshot as the newest, also one that was taken before; in the caller's transaction.

    ``at`` is kept of the first time.
    """
    one = {"use_case": use_case, "name": snapshot.snapshot_id}
    con.execute(_ADD, {**one, "at": at, **_sizes(snapshot)})
    con.execute(_IS_NEWEST, one)
    con.execute(_LOOKED_AT_NO_MORE, {"use_case": use_case})


def replace(con: Connection, use_case: str, old: str, new: Snapshot) -> None:
    """Keep ``new`` beside ``old``, and at least as new; in the caller's transaction."""
    both = {"use_case": use_case, "old": old, "new": new.snapshot_id}
    con.execute(_COPY, {**both, **_sizes(new)})
    con.execute(_AS_NEW_AS, both)


def newest_other(con: Connection, use_case: str, old: str) -> str | None:
    """The newest snapshot but ``old``."""
    rows = con.execute(_NEWEST_OTHER, {"use_case": use_case, "old": old}).fetchall()
    found: str | None = rows[0][0]
    return found


def _sizes(snapshot: Snapshot) -> dict[str, int]:
    return {"train": snapshot.train, "validation": snapshot.validation, "holdout": snapshot.holdout}
