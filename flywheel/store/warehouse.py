"""The open warehouse: late opened, soon closed, every method one question or one transaction.

DuckDB lets one process write at a time, so hold a store for as long as one step needs it.
Every write is one transaction and may be repeated: doing it twice is doing it once.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from flywheel.errors import DataError, StoreBusy
from flywheel.feedback import text_group
from flywheel.records import (
    Curated,
    Feedback,
    Ingested,
    Prediction,
    Reaction,
    Snapshot,
    Split,
    Step,
)
from flywheel.store.migrations import migrate, transaction

STORAGE_VERSION = "v1.5.0"
LOCK_WAIT_S = 10.0
_RETRY_S = 0.1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# ---- SQL: ``incoming`` is always the Arrow table registered by ``_insert``.

_ADD_PREDICTIONS = "INSERT OR IGNORE INTO predictions BY NAME SELECT * FROM incoming"
_ADD_FEEDBACK = "INSERT OR IGNORE INTO feedback BY NAME SELECT * FROM incoming"
_ADD_QUARANTINE = "INSERT INTO quarantine BY NAME SELECT * FROM incoming"
_ADD_SPLITS = "INSERT OR IGNORE INTO splits BY NAME SELECT * FROM incoming"
_ADD_SNAPSHOT_ROWS = "INSERT OR IGNORE INTO snapshot_rows BY NAME SELECT * FROM incoming"
_ADD_DROPS = "INSERT OR IGNORE INTO drops BY NAME SELECT * FROM incoming"
_ADD_STEPS = "INSERT OR IGNORE INTO steps BY NAME SELECT * FROM incoming"
_ADD_CONSUMED = "INSERT OR IGNORE INTO consumed BY NAME SELECT * FROM incoming"
_ADD_SCORES = "INSERT OR IGNORE INTO scores BY NAME SELECT * FROM incoming"

_ADD_FILE = "INSERT INTO ingested_files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_KNOWN_FILE = "SELECT count(*) FROM ingested_files WHERE use_case = ? AND file_sha256 = ?"

# A row is new when it carries this file's hash: no other file with that hash was ever ingested.
_NEW_AND_PARKED = """
SELECT
    count(*),
    count(*) FILTER (WHERE p.prediction_id IS NULL AND f.text IS NULL)
FROM feedback AS f
LEFT JOIN predictions AS p
    ON p.use_case = f.use_case AND p.prediction_id = f.prediction_id
WHERE f.use_case = ? AND f.file_sha256 = ?
"""

_REACTIONS = """
SELECT
    f.feedback_id,
    f.kind,
    f.value,
    coalesce(p.text, f.text),
    coalesce(p.group_id, f.group_id),
    f.rater_id,
    f.source,
    epoch_us(f.given_at),
    p.label,
    f.prediction_id,
    coalesce(p.customer_id, f.customer_id)
FROM feedback AS f
LEFT JOIN predictions AS p
    ON p.use_case = f.use_case AND p.prediction_id = f.prediction_id
WHERE f.use_case = ? AND (p.prediction_id IS NOT NULL OR f.text IS NOT NULL)
ORDER BY f.feedback_id
"""

_FEEDBACK_COUNTS = """
SELECT
    count(*),
    count(*) FILTER (WHERE p.prediction_id IS NULL AND f.text IS NULL),
    count(*) FILTER (
        WHERE (p.prediction_id IS NOT NULL OR f.text IS NOT NULL) AND c.feedback_id IS NULL
    )
FROM feedback AS f
LEFT JOIN predictions AS p
    ON p.use_case = f.use_case AND p.prediction_id = f.prediction_id
LEFT JOIN consumed AS c
    ON c.use_case = f.use_case AND c.feedback_id = f.feedback_id
WHERE f.use_case = ?
"""
_QUARANTINED = "SELECT count(*) FROM quarantine WHERE use_case = ?"

_SPLITS = "SELECT group_id, split FROM splits WHERE use_case = ? ORDER BY group_id"
_ADD_SNAPSHOT = "INSERT OR IGNORE INTO snapshots VALUES (?, ?, ?, ?, ?, ?)"

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

_SCORES = """
SELECT
    example_id,
    probabilities
FROM scores
WHERE use_case = ? AND digest = ?
ORDER BY example_id
"""
_LATENCY = "SELECT avg(latency_ms) FROM scores WHERE use_case = ? AND digest = ?"

_RECORD_NIGHT = "INSERT OR REPLACE INTO nights VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_NIGHTS = """
SELECT
    epoch_us(as_of),
    outcome,
    reasons,
    facts,
    snapshot_id,
    digest,
    epoch_us(recorded_at)
FROM nights
WHERE use_case = ?
ORDER BY as_of
"""

# ---- The store


@contextmanager
def open_store(
    path: Path, *, read_only: bool = False, wait_s: float = LOCK_WAIT_S
) -> Iterator[Store]:
    """Open the warehouse for one step; the first opening creates it and applies migrations.

    Raises:
        StoreBusy: another process held it for longer than ``wait_s``, or wrote the same rows.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _connect(path, read_only=False, wait_s=wait_s).close()
    con = _connect(path, read_only=read_only, wait_s=wait_s)
    try:
        yield Store(con)
    except duckdb.TransactionException as error:
        raise StoreBusy(
            f"Another writer changed {path} at the same time. Nothing was written; try again.",
            path=str(path),
        ) from error
    finally:
        con.close()


def _connect(path: Path, *, read_only: bool, wait_s: float) -> duckdb.DuckDBPyConnection:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return _open(path, read_only=read_only)
        except (duckdb.IOException, duckdb.ConnectionException, duckdb.TransactionException) as e:
            if isinstance(e, duckdb.IOException) and "lock" not in str(e).lower():
                raise
            if time.monotonic() >= deadline:
                raise StoreBusy(
                    f"{path} was held by another process for {wait_s:g} s. Nothing was read or "
                    "written; try again once that process has ended.",
                    path=str(path),
                ) from e
            time.sleep(_RETRY_S)


def _open(path: Path, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect(
        str(path),
        read_only=read_only,
        config={"storage_compatibility_version": STORAGE_VERSION},
    )
    ready = False
    try:
        con.execute("SET TimeZone = 'UTC'")
        if not read_only:
            migrate(con)
        ready = True
    finally:
        if not ready:
            con.close()
    return con


class Store:
    """An open warehouse. Made by `open_store`; every method is one question or one transaction."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con

    # ---- Predictions and feedback

    def add_predictions(self, use_case: str, predictions: Sequence[Prediction]) -> None:
        """Keep served answers; a known ``prediction_id`` is left as it is."""
        columns = {
            "use_case": _strings(use_case for _ in predictions),
            "prediction_id": _strings(p.prediction_id for p in predictions),
            "text": _strings(p.text for p in predictions),
            "group_id": _strings(p.group_id for p in predictions),
            "customer_id": _strings(p.customer_id for p in predictions),
            "label": _strings(p.label for p in predictions),
            "probabilities": _strings(_json(dict(p.probabilities)) for p in predictions),
            "model_version": _strings(p.model_version for p in predictions),
            "digest": _strings(p.digest for p in predictions),
            "predicted_at": _times(p.predicted_at for p in predictions),
        }
        with transaction(self._con):
            self._insert(_ADD_PREDICTIONS, columns)

    def known_file(self, use_case: str, sha256: str) -> bool:
        """Whether a file with this content was ingested before, under any name."""
        return bool(self._row(_KNOWN_FILE, use_case, sha256)[0])

    def ingest_file(
        self,
        use_case: str,
        *,
        file: str,
        sha256: str,
        accepted: Sequence[tuple[int, Feedback]],
        rejected: Sequence[tuple[int, str, str]],
        at: datetime,
    ) -> Ingested:
        """Take in one file: all of it or nothing; a known file changes nothing.

        ``accepted`` is (row number, feedback), ``rejected`` is (row number, raw row, reason).
        Of rows in one file with one ``feedback_id``, the earliest given is kept.
        """
        read = len(accepted) + len(rejected)
        if self.known_file(use_case, sha256):
            return Ingested(read=read, ingested=0, duplicate=read, quarantined=0, parked=0)
        with transaction(self._con):
            self._insert(_ADD_FEEDBACK, _feedback_columns(use_case, sha256, accepted, at))
            self._insert(_ADD_QUARANTINE, _quarantine_columns(use_case, file, sha256, rejected))
            new, parked = self._row(_NEW_AND_PARKED, use_case, sha256)
            counts = Ingested(
                read=read,
                ingested=new - parked,
                duplicate=len(accepted) - new,
                quarantined=len(rejected),
                parked=parked,
            )
            self._con.execute(
                _ADD_FILE,
                [
                    use_case,
                    sha256,
                    file,
                    counts.read,
                    counts.ingested,
                    counts.duplicate,
                    counts.quarantined,
                    counts.parked,
                    at,
                ],
            )
        return counts

    def reactions(self, use_case: str) -> list[Reaction]:
        """Every feedback whose text is known, by ``feedback_id``; the served text wins."""
        return [
            Reaction(
                feedback_id=feedback_id,
                kind=kind,
                value=value,
                text=text,
                group_id=group_id,
                rater_id=rater_id,
                source=source,
                given_at=_from_us(given_us),
                predicted_label=label,
                prediction_id=prediction_id,
                customer_id=customer_id,
            )
            for (
                feedback_id,
                kind,
                value,
                text,
                group_id,
                rater_id,
                source,
                given_us,
                label,
                prediction_id,
                customer_id,
            ) in self._rows(_REACTIONS, use_case)
        ]

    def counts(self, use_case: str) -> dict[str, int]:
        """Rows ``ingested`` (ever), ``quarantined`` (ever), ``orphans`` and ``waiting`` (now)."""
        ingested, orphans, waiting = self._row(_FEEDBACK_COUNTS, use_case)
        return {
            "ingested": ingested,
            "quarantined": self._row(_QUARANTINED, use_case)[0],
            "orphans": orphans,
            "waiting": waiting,
        }

    def waiting(self, use_case: str) -> int:
        """How many feedbacks have a text and no snapshot has used or dropped."""
        return self.counts(use_case)["waiting"]

    def orphans(self, use_case: str) -> int:
        """How many feedbacks are parked because their prediction has not arrived."""
        return self.counts(use_case)["orphans"]

    # ---- Snapshots

    def splits(self, use_case: str) -> dict[str, Split]:
        """Group → split, for every group ever assigned."""
        return dict(self._rows(_SPLITS, use_case))

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
        """
        name, examples, drops = snapshot.snapshot_id, curated.examples, curated.drops
        used = {feedback_id for example in examples for feedback_id in example.feedback_ids}
        consumed = sorted(used | {drop.feedback_id for drop in drops})
        rows = {
            "example_id": _strings(e.example_id for e in examples),
            "label": _strings(e.label for e in examples),
            "confidence": pa.array([e.confidence for e in examples], pa.float64()),
            "split": _strings(e.split for e in examples),
            "feedback_ids": pa.array([e.feedback_ids for e in examples], pa.list_(pa.string())),
            "weight": pa.array([e.weight for e in examples], pa.float64()),
            "excluded": pa.array([e.excluded for e in examples], pa.list_(pa.string())),
            "cluster_id": _strings(e.cluster_id for e in examples),
        }
        steps = {
            "position": pa.array(range(len(curated.steps)), pa.int32()),
            "rule": _strings(s.rule for s in curated.steps),
            "is_on": pa.array([s.on for s in curated.steps], pa.bool_()),
            "seen": pa.array([s.seen for s in curated.steps], pa.int64()),
            "dropped": pa.array([s.dropped for s in curated.steps], pa.int64()),
            "changed": pa.array([s.changed for s in curated.steps], pa.int64()),
            "detail": _strings(s.detail for s in curated.steps),
            "example": _strings(s.example for s in curated.steps),
        }
        dropped = {
            "feedback_id": _strings(d.feedback_id for d in drops),
            "reason": _strings(d.reason for d in drops),
        }
        fixed = {"group_id": _strings(splits.keys()), "split": _strings(splits.values())}
        here, in_snapshot = {"use_case": use_case}, {"use_case": use_case, "snapshot_id": name}
        counts = [snapshot.train, snapshot.validation, snapshot.exam]
        with transaction(self._con):
            self._con.execute(_ADD_SNAPSHOT, [use_case, name, at, *counts])
            self._insert(_ADD_SNAPSHOT_ROWS, rows, **in_snapshot)
            self._insert(_ADD_DROPS, dropped, **in_snapshot)
            self._insert(_ADD_STEPS, steps, **in_snapshot)
            self._insert(_ADD_SPLITS, fixed, **here)
            self._insert(_ADD_CONSUMED, {"feedback_id": _strings(consumed)}, **in_snapshot)

    def steps(self, use_case: str, snapshot_id: str) -> list[Step]:
        """What each curation rule did for a snapshot, in the order of the rules."""
        return [Step(*row) for row in self._rows(_STEPS, use_case, snapshot_id)]

    # ---- Scores and nights

    def scores(self, use_case: str, digest: str) -> dict[str, dict[str, float]]:
        """Example → label → probability, as this contender answered before."""
        rows = self._rows(_SCORES, use_case, digest)
        return {example_id: json.loads(probabilities) for example_id, probabilities in rows}

    def add_scores(
        self,
        use_case: str,
        digest: str,
        scores: Mapping[str, Mapping[str, float]],
        latency_ms: float,
    ) -> None:
        """Keep a contender's answers, made at ``latency_ms`` per row; known ones stay."""
        columns = {
            "example_id": _strings(scores.keys()),
            "probabilities": _strings(_json(dict(row)) for row in scores.values()),
            "latency_ms": pa.array([latency_ms] * len(scores), pa.float64()),
        }
        with transaction(self._con):
            self._insert(_ADD_SCORES, columns, use_case=use_case, digest=digest)

    def latency_ms(self, use_case: str, digest: str) -> float:
        """Mean milliseconds per row over this contender's answers.

        Raises:
            DataError: there are no answers of this contender.
        """
        mean = self._row(_LATENCY, use_case, digest)[0]
        if mean is None:
            raise DataError(f"{digest} has no scores in {use_case}; score it first.", digest=digest)
        return float(mean)

    def record_night(
        self,
        use_case: str,
        as_of: datetime,
        outcome: str,
        reasons: list[dict[str, Any]],
        facts: dict[str, Any],
        snapshot_id: str | None,
        digest: str | None,
        at: datetime,
    ) -> None:
        """Write down how a night ended; a later record of the same night replaces it."""
        row = [use_case, as_of, outcome, _json(reasons), _json(facts), snapshot_id, digest, at]
        with transaction(self._con):
            self._con.execute(_RECORD_NIGHT, row)

    def nights(self, use_case: str) -> list[dict[str, Any]]:
        """Every night on record, the newest last."""
        return [
            {
                "as_of": _from_us(as_of_us),
                "outcome": outcome,
                "reasons": json.loads(reasons),
                "facts": json.loads(facts),
                "snapshot_id": snapshot_id,
                "digest": digest,
                "recorded_at": _from_us(recorded_us),
            }
            for (
                as_of_us,
                outcome,
                reasons,
                facts,
                snapshot_id,
                digest,
                recorded_us,
            ) in self._rows(_NIGHTS, use_case)
        ]

    # ---- Plumbing

    def _insert(self, sql: str, columns: dict[str, pa.Array], **constants: str) -> None:
        """Insert whole columns through Arrow; ``constants`` are repeated on every row."""
        rows = len(next(iter(columns.values())))
        if rows == 0:
            return
        repeated = {name: _strings([value] * rows) for name, value in constants.items()}
        self._con.register("incoming", pa.table(columns | repeated))
        try:
            self._con.execute(sql)
        finally:
            self._con.unregister("incoming")

    def _rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        return self._con.execute(sql, list(parameters)).fetchall()

    def _row(self, sql: str, *parameters: object) -> tuple[Any, ...]:
        return self._rows(sql, *parameters)[0]


# ---- Columns


def _feedback_columns(
    use_case: str, sha256: str, accepted: Sequence[tuple[int, Feedback]], at: datetime
) -> dict[str, pa.Array]:
    kept: dict[str, tuple[int, Feedback]] = {}
    for row_number, feedback in sorted(accepted, key=_precedence):
        kept.setdefault(feedback.feedback_id, (row_number, feedback))
    rows = [feedback for _, feedback in kept.values()]
    return {
        "use_case": _strings(use_case for _ in rows),
        "feedback_id": _strings(f.feedback_id for f in rows),
        "kind": _strings(f.kind for f in rows),
        "value": _strings(f.value for f in rows),
        "prediction_id": _strings(f.prediction_id for f in rows),
        "text": _strings(f.text for f in rows),
        "group_id": _strings(
            text_group(f.text) if f.group_id is None and f.text is not None else f.group_id
            for f in rows
        ),
        "customer_id": _strings(f.customer_id for f in rows),
        "rater_id": _strings(f.rater_id for f in rows),
        "source": _strings(f.source for f in rows),
        "given_at": _times(f.given_at for f in rows),
        "ingested_at": _times(at for _ in rows),
        "file_sha256": _strings(sha256 for _ in rows),
        "row_number": pa.array([number for number, _ in kept.values()], pa.int64()),
    }


def _precedence(row: tuple[int, Feedback]) -> tuple[str, ...]:
    """Order rows so that which of two clashing ones is kept never depends on the row order."""
    _, f = row
    moment = f.given_at.astimezone(UTC).isoformat(timespec="microseconds")
    rest = (f.kind, f.rater_id, f.source, f.prediction_id, f.text, f.group_id, f.value)
    return (f.feedback_id, moment, *(part or "" for part in rest), f.customer_id or "")


def _quarantine_columns(
    use_case: str, file: str, sha256: str, rejected: Sequence[tuple[int, str, str]]
) -> dict[str, pa.Array]:
    return {
        "use_case": _strings(use_case for _ in rejected),
        "file": _strings(file for _ in rejected),
        "file_sha256": _strings(sha256 for _ in rejected),
        "row_number": pa.array([number for number, _, _ in rejected], pa.int64()),
        "reason": _strings(reason for _, _, reason in rejected),
        "raw": _strings(raw for _, raw, _ in rejected),
    }


def _strings(values: Iterable[str | None]) -> pa.Array:
    return pa.array(list(values), pa.string())


def _times(values: Iterable[datetime]) -> pa.Array:
    return pa.array(list(values), pa.timestamp("us", tz="UTC"))


def _from_us(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _json(content: object) -> str:
    return json.dumps(_finite(content), default=str)


def _finite(content: Any) -> Any:
    """Replace what JSON has no number for (nan, infinity) by null: a record must not be lost."""
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, Mapping):
        return {str(key): _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return content
