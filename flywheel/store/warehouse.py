"""The open warehouse: every method is one question or one transaction.

`flywheel.store.opening` opens it. Every write is one transaction and may be repeated: doing it
twice is doing it once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from flywheel.errors import DataError
from flywheel.ingestion.readers import Chunk
from flywheel.privacy.erasure_plan import EVERYWHERE, Forgotten
from flywheel.records import Curated, Ingested, Prediction, Reaction, Snapshot, Split, Step
from flywheel.store import snapshot_order
from flywheel.store.arrow_columns import from_us, incoming, strings, times
from flywheel.store.arrow_values import as_json
from flywheel.store.feedback.ingest import FEW_ROWS, take_in
from flywheel.store.feedback.reactions import read_reactions
from flywheel.store.migrations import transaction

# ---- SQL: ``incoming`` is always an Arrow table handed over for one statement.

_ADD_PREDICTIONS = """
INSERT INTO predictions BY NAME
SELECT *, md5_number_lower(prediction_id) AS prediction_key
FROM incoming
WHERE md5_number_lower(prediction_id) NOT IN (
    SELECT p.prediction_key FROM predictions AS p WHERE p.use_case = $use_case
)
"""
# Feedback that was parked becomes usable now, and so is among the newest.
_UNPARK = """
UPDATE feedback SET seq = freed.seq
FROM (
    SELECT
        f.rowid AS place,
        (SELECT coalesce(max(seq), 0) FROM feedback)
        + row_number() OVER (ORDER BY f.feedback_id) AS seq
    FROM feedback AS f
    WHERE
        f.use_case = $use_case
        AND f.seq IS NULL
        AND f.prediction_id IN (SELECT i.prediction_id FROM incoming AS i)
) AS freed
WHERE feedback.rowid = freed.place AND feedback.seq IS NULL
"""
_ADD_SPLITS = """
INSERT INTO splits BY NAME
SELECT *, md5_number_lower(group_id) AS group_key
FROM incoming
WHERE md5_number_lower(group_id) NOT IN (
    SELECT s.group_key FROM splits AS s WHERE s.use_case = $use_case
)
"""
_ADD_SNAPSHOT_ROWS = """
INSERT INTO snapshot_rows BY NAME
SELECT *
FROM incoming
WHERE example_id NOT IN (
    SELECT r.example_id
    FROM snapshot_rows AS r
    WHERE r.use_case = $use_case AND r.snapshot_id = $snapshot_id
)
"""
_ADD_DROPS = "INSERT INTO drops BY NAME SELECT * FROM incoming"
_TOLD_ANEW = """
DELETE FROM drops
WHERE use_case = $use_case AND snapshot_id = $snapshot_id
    AND feedback_id IN (SELECT i.feedback_id FROM incoming AS i)
"""
# What was counted when other reactions led to the same examples, as before a forgetting.
_COUNTED_BEFORE = tuple(
    f"DELETE FROM {table} WHERE use_case = $use_case AND snapshot_id = $snapshot_id"
    for table in ("steps", "suspects")
)
_ADD_CONSUMED = """
INSERT INTO consumed BY NAME
SELECT *, md5_number_lower(feedback_id) AS feedback_key
FROM incoming
WHERE md5_number_lower(feedback_id) NOT IN (
    SELECT c.feedback_key FROM consumed AS c WHERE c.use_case = $use_case
)
"""
_ADD_SUSPECTS = "INSERT INTO suspects BY NAME SELECT * FROM incoming"
_ADD_STEPS = "INSERT INTO steps BY NAME SELECT * FROM incoming"

_KNOWN_FILE = "SELECT count(*) FROM ingested_files WHERE use_case = ? AND file_sha256 = ?"

_FEEDBACK_COUNTS = """
SELECT
    count(f.seq),
    count(*) - count(f.seq),
    count(*) FILTER (WHERE f.seq IS NOT NULL AND c.feedback_key IS NULL)
FROM feedback AS f
LEFT JOIN (SELECT DISTINCT feedback_key FROM consumed WHERE use_case = $use_case) AS c
    ON c.feedback_key = f.feedback_key
WHERE f.use_case = $use_case
"""
_FORGOTTEN = "SELECT name_hash FROM forgotten WHERE use_case IN (?, ?)"
_QUARANTINED = "SELECT count(*) FROM quarantine WHERE use_case = ?"
_REASONS = """
SELECT reason, count(*) FROM quarantine WHERE use_case = ?
GROUP BY reason ORDER BY count(*) DESC, reason
"""

_SPLITS = "SELECT group_id, split FROM splits WHERE use_case = $use_case ORDER BY group_id"
_SPLITS_OF = """
SELECT s.group_id, s.split
FROM splits AS s
JOIN incoming AS i ON s.group_key = md5_number_lower(i.group_id)
WHERE s.use_case = $use_case AND s.group_id = i.group_id
ORDER BY s.group_id
"""

_LEARNED_FROM = f"""
SELECT unnest(feedback_ids)
FROM snapshot_rows
WHERE use_case = $use_case AND snapshot_id = ({snapshot_order.NEWEST})
"""
_STEPS = """
SELECT
    rule,
    is_on,
    seen,
    dropped,
    changed,
    detail,
    example
FROM steps
WHERE use_case = ? AND snapshot_id = ?
ORDER BY position
"""


# ---- The store


class Store:
    """An open warehouse. Made by `open_store`; every method is one question or one transaction."""

    def __init__(self, con: duckdb.DuckDBPyConnection, path: Path | None = None) -> None:
        self._con = con
        self.path = path

    @property
    def con(self) -> duckdb.DuckDBPyConnection:
        """The open connection, for the other modules of this package."""
        return self._con

    def rows(self, sql: str, parameters: list[Any] | dict[str, Any]) -> list[tuple[Any, ...]]:
        """What a query answers, for the other modules of this package."""
        return self._con.execute(sql, parameters).fetchall()

    @staticmethod
    def moment(microseconds: int) -> datetime:
        """The UTC time that is this long after 1970."""
        return from_us(microseconds)

    # ---- The forgotten

    def forgotten(self, use_case: str) -> Forgotten:
        """Recognises what names a person that was forgotten in this use case or in all.

        Raises:
            DataError: people were forgotten, and the key that recognises them is missing.
        """
        hashes = frozenset(name for (name,) in self._rows(_FORGOTTEN, use_case, EVERYWHERE))
        if not hashes:
            return Forgotten(b"", hashes)
        key = (self.path or Path()).parent / "forget" / "key"
        if not key.is_file():
            raise DataError(
                f"{len(hashes)} names are forgotten in {use_case}, and the key that recognises "
                f"them is missing at {key}. Nothing was taken in; restore it from a backup.",
                path=str(key),
            )
        return Forgotten(key.read_bytes(), hashes)

    # ---- Predictions and feedback

    def add_predictions(self, use_case: str, predictions: Sequence[Prediction]) -> None:
        """Keep served answers, but none for the forgotten; a known ``prediction_id`` is left."""
        with transaction(self._con):
            self.insert_predictions(use_case, predictions)

    def insert_predictions(self, use_case: str, predictions: Sequence[Prediction]) -> None:
        """As `add_predictions`; to be called in a transaction."""
        gone = self.forgotten(use_case)
        first = {one.prediction_id: one for one in reversed(predictions)}
        predictions = [p for p in first.values() if not gone.answer(p)]
        columns = {
            "prediction_id": strings(p.prediction_id for p in predictions),
            "text": strings(p.text for p in predictions),
            "group_id": strings(p.group_id for p in predictions),
            "customer_id": strings(p.customer_id for p in predictions),
            "label": strings(p.label for p in predictions),
            "probabilities": strings(as_json(dict(p.probabilities)) for p in predictions),
            "model_version": strings(p.model_version for p in predictions),
            "digest": strings(p.digest for p in predictions),
            "predicted_at": times(p.predicted_at for p in predictions),
        }
        self.insert(_ADD_PREDICTIONS, columns, use_case=use_case)
        self.insert(_UNPARK, columns, use_case=use_case)

    def known_file(self, use_case: str, sha256: str) -> bool:
        """Whether a file with this content was ingested before, under any name."""
        return bool(self._row(_KNOWN_FILE, use_case, sha256)[0])

    def ingest_file(
        self,
        use_case: str,
        *,
        file: str,
        sha256: str,
        chunks: Callable[[], Iterator[Chunk]],
        labels: tuple[str, ...],
        at: datetime,
        by_customer: bool = True,
        few_rows: int = FEW_ROWS,
    ) -> Ingested:
        """Take in one file, read by ``chunks()`` once or twice: all of it or nothing.

        Of rows in one file with one ``feedback_id``, the earliest given is kept. A known file
        changes nothing, and all its rows count as duplicates. ``by_customer`` is that of `split`;
        ``few_rows`` changes only how long it takes.
        """
        if self.known_file(use_case, sha256):
            read = sum(chunk.table.num_rows + len(chunk.odd) for chunk in chunks())
            return Ingested(read=read, ingested=0, duplicate=read, quarantined=0, parked=0)
        gone = self.forgotten(use_case)
        with transaction(self._con):
            return take_in(
                self._con,
                use_case,
                file=file,
                sha256=sha256,
                chunks=chunks,
                labels=labels,
                by_customer=by_customer,
                gone=gone,
                at=at,
                few_rows=few_rows,
            )

    def reactions(
        self,
        use_case: str,
        *,
        gold_sources: Sequence[str] = (),
        newest: int | None = None,
        replay: Sequence[str] = (),
    ) -> list[Reaction]:
        """Feedback whose text is known, by ``feedback_id``; the served text wins.

        With ``newest`` None, all of it. Otherwise what is from ``gold_sources``, the ``newest``
        others that became usable last, and those whose ``feedback_id`` is in ``replay``: the
        rest of history is not read.
        """
        return read_reactions(
            self._con, use_case, gold_sources=gold_sources, newest=newest, replay=replay
        )

    def counts(self, use_case: str) -> dict[str, int]:
        """Rows ``ingested`` (ever), ``quarantined`` (ever), ``parked`` and ``waiting`` (now).

        As in `Ingested`, a row is one of these: what is parked is ingested when its answer comes.
        """
        ingested, parked, waiting = self._con.execute(
            _FEEDBACK_COUNTS, {"use_case": use_case}
        ).fetchall()[0]
        return {
            "ingested": ingested,
            "quarantined": self._row(_QUARANTINED, use_case)[0],
            "parked": parked,
            "waiting": waiting,
        }

    def quarantine_reasons(self, use_case: str) -> dict[str, int]:
        """Reason → rows in quarantine for it, the commonest first."""
        return dict(self._con.execute(_REASONS, [use_case]).fetchall())

    def waiting(self, use_case: str) -> int:
        """How many feedbacks have a text and no snapshot has used or dropped."""
        return self.counts(use_case)["waiting"]

    def parked(self, use_case: str) -> int:
        """How many feedbacks are parked because their prediction has not arrived."""
        return self.counts(use_case)["parked"]

    # ---- Snapshots

    def splits(self, use_case: str, groups: Iterable[str] | None = None) -> dict[str, Split]:
        """Group → split, for those of ``groups`` that were ever assigned; None asks for all."""
        here = {"use_case": use_case}
        if groups is None:
            return dict(self._con.execute(_SPLITS, here).fetchall())
        wanted = pa.table({"group_id": strings(sorted(set(groups)))})
        with incoming(self._con, wanted):
            return dict(self._con.execute(_SPLITS_OF, here).fetchall())

    def commit_snapshot(
        self,
        use_case: str,
        snapshot: Snapshot,
        curated: Curated,
        splits: Mapping[str, Split],
        at: datetime,
    ) -> None:
        """Record a snapshot, fix the splits of its groups and consume its feedback, together.

        Rows that are there already stay as they are, so committing again only adds what is new.
        What curation counted is that of the last time: other reactions may give the same examples.
        """
        name, examples, drops = snapshot.snapshot_id, curated.examples, curated.drops
        used = {feedback_id for example in examples for feedback_id in example.feedback_ids}
        consumed = sorted(used | {drop.feedback_id for drop in drops})
        rows = {
            "example_id": strings(e.example_id for e in examples),
            "label": strings(e.label for e in examples),
            "confidence": pa.array([e.confidence for e in examples], pa.float64()),
            "split": strings(e.split for e in examples),
            "feedback_ids": pa.array([e.feedback_ids for e in examples], pa.list_(pa.string())),
            "weight": pa.array([e.weight for e in examples], pa.float64()),
            "excluded": pa.array([e.excluded for e in examples], pa.list_(pa.string())),
            "cluster_id": strings(e.cluster_id for e in examples),
        }
        steps = {
            "position": pa.array(range(len(curated.steps)), pa.int32()),
            "rule": strings(s.rule for s in curated.steps),
            "is_on": pa.array([s.on for s in curated.steps], pa.bool_()),
            "seen": pa.array([s.seen for s in curated.steps], pa.int64()),
            "dropped": pa.array([s.dropped for s in curated.steps], pa.int64()),
            "changed": pa.array([s.changed for s in curated.steps], pa.int64()),
            "detail": strings(s.detail for s in curated.steps),
            "example": strings(s.example for s in curated.steps),
        }
        suspects = {
            "example_id": strings(s.example_id for s in curated.suspects),
            "score": pa.array([s.score for s in curated.suspects], pa.float64()),
        }
        dropped = {
            "feedback_id": strings(d.feedback_id for d in drops),
            "reason": strings(d.reason for d in drops),
        }
        fixed = {"group_id": strings(splits.keys()), "split": strings(splits.values())}
        here, in_snapshot = {"use_case": use_case}, {"use_case": use_case, "snapshot_id": name}
        seen = {"feedback_id": strings(consumed), "consumed_at": times([at] * len(consumed))}
        with transaction(self._con):
            snapshot_order.take(self._con, use_case, snapshot, at=at)
            for statement in _COUNTED_BEFORE:
                self._con.execute(statement, in_snapshot)
            self.insert(_ADD_SNAPSHOT_ROWS, rows, **in_snapshot)
            self.insert(_TOLD_ANEW, dropped, **in_snapshot)
            self.insert(_ADD_DROPS, dropped, **in_snapshot)
            self.insert(_ADD_STEPS, steps, **in_snapshot)
            self.insert(_ADD_SUSPECTS, suspects, **in_snapshot)
            self.insert(_ADD_SPLITS, fixed, **here)
            self.insert(_ADD_CONSUMED, seen, **in_snapshot)

    def learned_from(self, use_case: str) -> list[str]:
        """The feedback ids of the newest snapshot's examples."""
        return [name for (name,) in self.rows(_LEARNED_FROM, {"use_case": use_case})]

    def steps(self, use_case: str, snapshot_id: str) -> list[Step]:
        """What each curation rule did for a snapshot, in the order of the rules."""
        return [Step(*row) for row in self._rows(_STEPS, use_case, snapshot_id)]

    # ---- Plumbing

    def insert(self, sql: str, columns: dict[str, pa.Array], **constants: str) -> None:
        """Insert whole columns through Arrow, in the caller's transaction.

        ``constants`` are repeated on every row; statements that ask what is there already take
        them as parameters, too.
        """
        rows = len(next(iter(columns.values())))
        if rows == 0:
            return
        repeated = {name: strings([value] * rows) for name, value in constants.items()}
        asked = {name: value for name, value in constants.items() if f"${name}" in sql}
        with incoming(self._con, pa.table(columns | repeated)):
            self._con.execute(sql, asked)

    def _rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        return self._con.execute(sql, list(parameters)).fetchall()

    def _row(self, sql: str, *parameters: object) -> tuple[Any, ...]:
        return self._rows(sql, *parameters)[0]
