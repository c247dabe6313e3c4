"""What the warehouse holds of a person, and how it leaves the file.

A person is a ``customer_id``, ``rater_id`` or ``group_id``; feedback on predictions made for them
is theirs too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flywheel.privacy.erasure_plan import names_in
from flywheel.records import Snapshot
from flywheel.store import anonymous_evidence, snapshot_order
from flywheel.store.anonymous_evidence import Hanging
from flywheel.store.compaction import identifier
from flywheel.store.migrations import transaction
from flywheel.store.warehouse import Store
from flywheel.text.normalize import text_id
from flywheel.text.pii import redact

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

_USE_CASES = """
SELECT use_case FROM feedback
UNION SELECT use_case FROM predictions
UNION SELECT use_case FROM quarantine
UNION SELECT use_case FROM ingested_files
UNION SELECT use_case FROM snapshots
ORDER BY use_case
"""

_PREDICTIONS = """
SELECT
    prediction_id,
    text,
    group_id
FROM predictions
WHERE use_case = $use_case AND (
    customer_id = $person
    OR group_id = $person
    OR prediction_id IN (SELECT unnest($also))
)
"""
_FEEDBACK = """
SELECT
    feedback_id,
    text,
    CASE WHEN kind = 'comment' THEN value END,
    group_id,
    coalesce(
        customer_id = $person
        OR group_id = $person
        OR prediction_id IN (SELECT unnest($predictions))
        OR feedback_id IN (SELECT unnest($also)),
        false
    )
FROM feedback
WHERE use_case = $use_case AND (
    customer_id = $person
    OR rater_id = $person
    OR group_id = $person
    OR prediction_id IN (SELECT unnest($predictions))
    OR feedback_id IN (SELECT unnest($also))
)
"""
_QUARANTINE = "SELECT file_sha256, row_number, raw FROM quarantine WHERE use_case = ? AND raw <> ''"
_EXAMPLES = """
SELECT DISTINCT
    snapshot_id,
    example_id,
    split
FROM (
    SELECT
        snapshot_id,
        example_id,
        split,
        unnest(feedback_ids) AS feedback_id
    FROM snapshot_rows
    WHERE use_case = $use_case
)
WHERE feedback_id IN (SELECT unnest($feedback))
ORDER BY snapshot_id, example_id
"""
_DROPS = """
SELECT count(*) FROM drops
WHERE use_case = $use_case AND feedback_id IN (SELECT unnest($feedback))
"""
_CONSUMED = """
SELECT count(*) FROM consumed
WHERE use_case = $use_case AND feedback_id IN (SELECT unnest($feedback))
"""
_SCORES = """
SELECT count(*) FROM scores
WHERE use_case = $use_case AND example_id IN (SELECT unnest($examples))
"""
_REWRITES = "SELECT snapshot_id, new_snapshot_id FROM rewrites WHERE use_case = ?"
_REWRITTEN_BY = "SELECT snapshot_id, new_snapshot_id FROM rewrites WHERE certificate_id = ?"
_SNAPSHOTS = "SELECT DISTINCT snapshot_id FROM snapshots"
_REMEMBER = "INSERT OR IGNORE INTO forgotten SELECT ?, unnest(?), ?, ?"

_COPY_ROWS = """
INSERT INTO snapshot_rows
SELECT * REPLACE ($new AS snapshot_id)
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

_TEXT_COLUMNS = """
SELECT
    table_name,
    column_name
FROM duckdb_columns()
WHERE database_name = current_database() AND NOT internal
    AND data_type IN ('VARCHAR', 'JSON', 'VARCHAR[]')
ORDER BY table_name, column_index
"""


@dataclass(frozen=True)
class Held:
    """What one use case holds of a person, by key; their ``texts`` are in no ``repr``.

    ``groups`` are theirs, and those of texts that they labeled. Others gave the ``shared`` ones of
    the texts, too. ``regrouped`` is feedback of others that is kept, with the group it gets.
    """

    use_case: str
    predictions: tuple[str, ...]
    feedback: tuple[str, ...]
    groups: tuple[str, ...]
    evidence: Hanging
    quarantine: tuple[tuple[str, int], ...]
    examples: tuple[tuple[str, str, str], ...]
    counts: dict[str, int]
    texts: frozenset[str] = field(repr=False)
    shared: frozenset[str] = field(default=frozenset(), repr=False)
    regrouped: tuple[tuple[str, str], ...] = ()


def use_cases(store: Store) -> tuple[str, ...]:
    """Every use case that the warehouse has rows of."""
    return tuple(name for (name,) in store.rows(_USE_CASES, {}))


def held(
    store: Store,
    use_case: str,
    person: str,
    *,
    predictions: Sequence[str] = (),
    feedback: Sequence[str] = (),
) -> Held:
    """Find all rows of a person, and of the predictions and feedback named besides."""
    here: dict[str, Any] = {"use_case": use_case, "person": person}
    served = store.rows(_PREDICTIONS, {**here, "also": list(predictions)})
    ids = [row[0] for row in served]
    given = store.rows(_FEEDBACK, {**here, "predictions": ids, "also": list(feedback)})
    names = [row[0] for row in given]
    of = {"use_case": use_case, "feedback": names}
    examples = store.rows(_EXAMPLES, of)
    texts = {row[1] for row in served} | {t for row in given for t in row[1:3] if t is not None}
    quarantined = _quarantined(store, use_case, {person, *ids, *feedback})
    vanishing = {"use_case": use_case, "examples": [row[1] for row in examples]}
    own = {person, *(r[2] for r in served), *(r[3] for r in given if r[3] and _is_own(*r))}
    labeled = {r[3] for r in given if r[3] is not None}
    evidence = anonymous_evidence.hanging(
        store,
        use_case,
        own=own,
        labeled=labeled,
        feedback=names,
        predictions=ids,
        examples=vanishing["examples"],
        texts=texts,
    )
    counts = {
        "feedback": len(names),
        "predictions": len(ids),
        "quarantine": len(quarantined),
        "snapshot_rows": len(examples),
        "drops": store.rows(_DROPS, of)[0][0],
        "consumed": store.rows(_CONSUMED, of)[0][0],
        "scores": store.rows(_SCORES, vanishing)[0][0],
        "evidence": anonymous_evidence.count(store, use_case, evidence),
    }
    return Held(
        use_case=use_case,
        predictions=tuple(sorted(ids)),
        feedback=tuple(sorted(names)),
        groups=tuple(sorted(own | labeled)),
        evidence=evidence,
        quarantine=quarantined,
        examples=tuple(examples),
        counts=counts,
        texts=frozenset(texts),
    )


def _is_own(_id: str, text: str | None, _said: str | None, group: str, theirs: bool) -> bool:
    """Whether a feedback's group is the person's, who may have labeled others' texts only."""
    return theirs or anonymous_evidence.is_group_of(group, text)


def _quarantined(store: Store, use_case: str, names: Iterable[str]) -> tuple[tuple[str, int], ...]:
    """Rows that name them; those that hold words of theirs are told by `arrivals.quarantined`."""
    wanted = set(names)
    return tuple(
        (file_sha256, number)
        for file_sha256, number, raw in store.rows(_QUARANTINE, [use_case])
        if not wanted.isdisjoint(names_in(raw))
    )


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
    store: Store, found: Held, old: str, new: Snapshot | None, certificate_id: str
) -> None:
    """Point all that was said of snapshot ``old`` at ``new``, without them; None: nothing is left.

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
            store.con.execute(_COPY_ROWS, {**to, "examples": gone})
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
                "items": [
                    text_id(said) for t in one.texts - one.shared for said in (t, redact(t).text)
                ],
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
        for (file,) in store.rows(_FILES_NAMED, {"person": person}):
            for statement in _RENAME_FILE:
                store.con.execute(statement, {"file": file, "hidden": hidden(file, person)})
        for use_case in retrain:
            store.con.execute(_REQUEST_RETRAIN, [use_case, certificate_id])


def hidden(file: str, person: str) -> str:
    """A file's name without the person's, where it stands in it as a word."""
    return re.sub(rf"(?<![A-Za-z0-9]){re.escape(person)}(?![A-Za-z0-9])", "forgotten", file)


def mentions(store: Store, texts: Sequence[str], names: Sequence[str]) -> tuple[int, list[str]]:
    """Tables searched, and the ``table.column`` that hold a text, or a name as a whole value."""
    columns = store.rows(_TEXT_COLUMNS, {})
    found = []
    for table, column in columns:
        cell = f"CAST(held.{identifier(column)} AS VARCHAR)"
        query = (
            f"SELECT count(*) FROM {identifier(table)} AS held "
            f"WHERE {cell} IN (SELECT unnest($names)) "
            f"OR EXISTS (SELECT 1 FROM unnest($texts) AS t(text) WHERE contains({cell}, t.text))"
        )
        if store.rows(query, {"names": list(names), "texts": list(texts)})[0][0]:
            found.append(f"{table}.{column}")
    return len({table for table, _ in columns}), found
