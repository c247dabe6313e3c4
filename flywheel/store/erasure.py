"""What the warehouse holds of a person, and how it leaves the file.

A person is a ``customer_id``, ``rater_id`` or ``group_id``; feedback on predictions made for them
is theirs too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from flywheel.privacy.person_ids import person_of
from flywheel.privacy.personal_texts import forms
from flywheel.records import Snapshot
from flywheel.store import anonymous_evidence, snapshot_order
from flywheel.store.compaction import identifier
from flywheel.store.mentions import mentions as mentions
from flywheel.store.migrations import transaction
from flywheel.store.rows_of_person import Held as Held
from flywheel.store.rows_of_person import clustered as clustered
from flywheel.store.rows_of_person import held as held
from flywheel.store.warehouse import Store
from flywheel.text.normalize import text_id

# every table is in exactly one of these, which a test checks
HOLDING = (
    "predictions", "shadow_answers", "feedback", "quarantine", "ingested_files", "splits",
    "snapshots", "snapshot_rows", "drops", "steps", "consumed", "scores", "suspects", "audits",
    "evidence", "set_aside",
)  # fmt: skip
HARMLESS = (
    "migrations", "nights", "forgotten", "rewrites", "retrains", "questions", "trials",
    "promotions", "measured_versions", "looked_at",
)  # fmt: skip

_WITH_USE_CASES = """
SELECT table_name
FROM information_schema.columns
WHERE column_name = 'use_case' AND table_name <> 'forgotten'
ORDER BY table_name
"""

_REWRITES = "SELECT snapshot_id, new_snapshot_id FROM rewrites WHERE use_case = ?"
_REWRITTEN_BY = "SELECT snapshot_id, new_snapshot_id FROM rewrites WHERE certificate_id = ?"
_SNAPSHOTS = "SELECT DISTINCT snapshot_id FROM snapshots"
_REMEMBER = "INSERT OR IGNORE INTO forgotten SELECT ?, unnest(?), ?, ?"

_COPY_ROWS = """
INSERT INTO snapshot_rows
SELECT * REPLACE (
    $new AS snapshot_id,
    coalesce(
        list_extract($names::VARCHAR[], list_position($clusters::VARCHAR[], cluster_id)), cluster_id
    ) AS cluster_id
)
FROM snapshot_rows
WHERE use_case = $use_case AND snapshot_id = $old
    AND example_id NOT IN (SELECT unnest($examples))
    AND example_id NOT IN (
        SELECT r.example_id
        FROM snapshot_rows AS r
        WHERE r.use_case = $use_case AND r.snapshot_id = $new
    )
"""
_COPY_DROPS = """
INSERT INTO drops
SELECT * REPLACE ($new AS snapshot_id)
FROM drops
WHERE use_case = $use_case AND snapshot_id = $old
    AND feedback_id NOT IN (SELECT unnest($feedback))
    AND feedback_id NOT IN (
        SELECT d.feedback_id
        FROM drops AS d
        WHERE d.use_case = $use_case AND d.snapshot_id = $new
    )
"""
_COPY_STEPS = """
INSERT OR IGNORE INTO steps
SELECT * REPLACE ($new AS snapshot_id)
FROM steps
WHERE use_case = $use_case AND snapshot_id = $old
"""
_COPY_SUSPECTS = """
INSERT OR IGNORE INTO suspects
SELECT * REPLACE ($new AS snapshot_id)
FROM suspects
WHERE use_case = $use_case AND snapshot_id = $old
    AND example_id NOT IN (SELECT unnest($examples))
"""
_MOVE_CONSUMED = """
UPDATE consumed SET snapshot_id = $new WHERE use_case = $use_case AND snapshot_id = $old
"""
_DELETE_CONSUMED = "DELETE FROM consumed WHERE use_case = $use_case AND snapshot_id = $old"
_DELETE_OLD = tuple(
    f"DELETE FROM {table} WHERE use_case = $use_case AND snapshot_id = $old"
    for table in ("snapshot_rows", "drops", "steps", "suspects", "snapshots")
)
_MOVE_REWRITES = """
UPDATE rewrites SET new_snapshot_id = $new
WHERE use_case = $use_case AND new_snapshot_id = $old
"""
_ADD_REWRITE = "INSERT OR REPLACE INTO rewrites VALUES ($use_case, $old, $new, $certificate)"

_DELETE = (
    "DELETE FROM feedback WHERE use_case = $use_case AND feedback_id IN (SELECT unnest($feedback))",
    "DELETE FROM predictions WHERE use_case = $use_case "
    "AND prediction_id IN (SELECT unnest($predictions))",
    "DELETE FROM shadow_answers WHERE use_case = $use_case "
    "AND prediction_id IN (SELECT unnest($predictions))",
    "DELETE FROM drops WHERE use_case = $use_case AND feedback_id IN (SELECT unnest($feedback))",
    "DELETE FROM consumed WHERE use_case = $use_case AND feedback_id IN (SELECT unnest($feedback))",
    "DELETE FROM set_aside WHERE use_case = $use_case "
    "AND feedback_id IN (SELECT unnest($feedback))",
    "DELETE FROM audits WHERE use_case = $use_case AND item_id IN (SELECT unnest($items))",
    "UPDATE steps SET example = NULL WHERE use_case = $use_case "
    "AND example IN (SELECT unnest($feedback))",
    "DELETE FROM splits WHERE use_case = $use_case AND group_id IN (SELECT unnest($groups)) "
    "AND group_id NOT IN (SELECT group_id FROM feedback "
    "WHERE use_case = $use_case AND group_id IS NOT NULL) "
    "AND group_id NOT IN (SELECT group_id FROM predictions WHERE use_case = $use_case)",
    "DELETE FROM scores WHERE use_case = $use_case "
    "AND example_id NOT IN (SELECT example_id FROM snapshot_rows WHERE use_case = $use_case)",
)
_REGROUP = """
UPDATE feedback SET group_id = $group
WHERE use_case = $use_case AND feedback_id = $feedback_id
"""
_DELETE_QUARANTINE = """
DELETE FROM quarantine
WHERE use_case = $use_case AND (file_sha256, row_number) IN (
    SELECT (unnest($files), unnest($numbers))
)
"""
_FILES_NAMED = """
SELECT DISTINCT file FROM ingested_files WHERE contains(file, $person)
UNION SELECT DISTINCT file FROM quarantine WHERE contains(file, $person)
"""
_RENAME_FILE = tuple(
    f"UPDATE {table} SET file = $hidden WHERE file = $file"
    for table in ("ingested_files", "quarantine")
)
_REQUEST_RETRAIN = "INSERT OR IGNORE INTO retrains VALUES (?, ?, NULL)"


def use_cases(store: Store) -> tuple[str, ...]:
    """Every use case of which any table of the warehouse has a row."""
    tables = [identifier(table) for (table,) in store.rows(_WITH_USE_CASES, {})]
    asked = " UNION ".join(f"SELECT use_case FROM {table}" for table in tables)
    return tuple(name for (name,) in store.rows(f"{asked} ORDER BY use_case", {}))


def remember(
    store: Store, use_case: str, hashes: Sequence[str], certificate_id: str, at: datetime
) -> None:
    """From now on, rows that name these are refused."""
    with transaction(store.con):
        store.con.execute(_REMEMBER, [use_case, list(hashes), certificate_id, at])


def rewrites(store: Store, use_case: str) -> dict[str, str | None]:
    """Snapshot → what it became when somebody was taken out of it, None when nothing was left."""
    return dict(store.rows(_REWRITES, [use_case]))


def rewritten_by(store: Store, certificate_id: str) -> dict[str, str | None]:
    """The snapshots that one forgetting rewrote."""
    return dict(store.rows(_REWRITTEN_BY, [certificate_id]))


def known_snapshots(store: Store) -> set[str]:
    """The snapshots of all use cases."""
    return {name for (name,) in store.rows(_SNAPSHOTS, {})}


def replace_snapshot(
    store: Store,
    found: Held,
    old: str,
    new: Snapshot | None,
    certificate_id: str,
    *,
    clusters: Mapping[str, str] | None = None,
) -> None:
    """Point all that was said of snapshot ``old`` at ``new``, without them; None: nothing is left.

    ``clusters`` are those that were named by a text of theirs, with the name that each has now.

    Nights keep the old id, so that the next one sees that there is something new to learn, where
    training rows are gone (`flywheel.store.feedback.feedback_counts.standing`).
    """
    gone = [example for snapshot, example, _ in found.examples if snapshot == old]
    scope: dict[str, Any] = {"use_case": found.use_case, "old": old}
    with transaction(store.con):
        if new is None:
            # what it had seen is not fresh again: the newest of the others has seen it
            if other := snapshot_order.newest_other(store.con, found.use_case, old):
                store.con.execute(_MOVE_CONSUMED, {**scope, "new": other})
            store.con.execute(_DELETE_CONSUMED, scope)
        else:
            to = {**scope, "new": new.snapshot_id}
            snapshot_order.replace(store.con, found.use_case, old, new)
            named = clusters or {}
            renamed = {"clusters": list(named), "names": list(named.values())}
            store.con.execute(_COPY_ROWS, {**to, **renamed, "examples": gone})
            store.con.execute(_COPY_DROPS, {**to, "feedback": list(found.feedback)})
            store.con.execute(_COPY_STEPS, to)
            store.con.execute(_COPY_SUSPECTS, {**to, "examples": gone})
            store.con.execute(_MOVE_CONSUMED, to)
        for statement in _DELETE_OLD:
            store.con.execute(statement, scope)
        target = {**scope, "new": new.snapshot_id if new else None}
        store.con.execute(_MOVE_REWRITES, target)
        store.con.execute(_ADD_REWRITE, {**target, "certificate": certificate_id})


def delete_rows(
    store: Store,
    found: Sequence[Held],
    person: str,
    *,
    retrain: Iterable[str],
    certificate_id: str,
) -> None:
    """Delete all rows of theirs and ask for a retrain without them, in one transaction.

    Evidence stays, without what names anybody: deleted, it would give a trial's level back.
    """
    with transaction(store.con):
        for one in found:
            values = {
                "use_case": one.use_case,
                "feedback": list(one.feedback),
                "predictions": list(one.predictions),
                "groups": list(one.groups),
                "items": [text_id(said) for said in forms(one.texts - one.shared)],
            }
            for statement in _DELETE:
                wanted = {name: v for name, v in values.items() if f"${name}" in statement}
                store.con.execute(statement, wanted)
            for feedback_id, group in one.regrouped:
                named = {"use_case": one.use_case, "feedback_id": feedback_id, "group": group}
                store.con.execute(_REGROUP, named)
            anonymous_evidence.make_anonymous(store, one.use_case, one.evidence)
            files, numbers = [f for f, _ in one.quarantine], [n for _, n in one.quarantine]
            place = {"use_case": one.use_case, "files": files, "numbers": numbers}
            if files:
                store.con.execute(_DELETE_QUARANTINE, place)
        known = person_of(person, found=(name for one in found for name in one.people))
        for name in known.ids:
            for (file,) in store.rows(_FILES_NAMED, {"person": name}):
                for statement in _RENAME_FILE:
                    store.con.execute(statement, {"file": file, "hidden": known.hidden(file)})
        for use_case in retrain:
            store.con.execute(_REQUEST_RETRAIN, [use_case, certificate_id])
