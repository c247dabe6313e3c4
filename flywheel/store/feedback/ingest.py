"""Feedback rows taken in set-wise: DuckDB judges the plain ones, `parse_feedback` all others.

A file is read once, as a stream, for its plain rows; others cost a second reading. A file of few
rows is read once, for `parse_feedback`: the service writes many of them, and to plan the statement
takes DuckDB longer than to judge them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import astuple
from datetime import datetime
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from flywheel.errors import FlywheelError
from flywheel.ingestion.feedback import text_group
from flywheel.ingestion.readers import Chunk
from flywheel.ingestion.readers.chunk import Row
from flywheel.privacy.erasure_plan import FORGOTTEN, Forgotten
from flywheel.records import Ingested
from flywheel.store.arrow_columns import incoming, strings
from flywheel.store.feedback.ingest_sql import JUDGED, fitted
from flywheel.store.feedback.judged import QUARANTINE, Rules, rejected_table, take_judged

# ---- SQL. ``incoming`` is always an Arrow table handed over for one statement.

_TAKE_PLAIN = f"""
INSERT INTO feedback BY NAME
SELECT
    * EXCLUDE (plain),
    $use_case AS use_case,
    $at::TIMESTAMPTZ AS ingested_at,
    $sha256 AS file_sha256,
    $base + row_number AS seq
FROM ({JUDGED})
WHERE plain AND (group_id IS NOT NULL OR text IS NULL)
"""
_STAGE = f"CREATE OR REPLACE TEMP TABLE staged AS {JUDGED}"
_UNCERTAIN = "SELECT row_number FROM staged WHERE NOT plain ORDER BY row_number"
_WITHOUT_GROUP = """
SELECT row_number, text FROM staged WHERE plain AND group_id IS NULL AND text IS NOT NULL
"""
_SET_GROUPS = """
UPDATE staged SET group_id = i.group_id FROM incoming AS i WHERE staged.row_number = i.row_number
"""

# ---- SQL that takes them in

_TAKE_STAGED = """
INSERT INTO feedback BY NAME
SELECT
    * EXCLUDE (plain),
    $use_case AS use_case,
    $at::TIMESTAMPTZ AS ingested_at,
    $sha256 AS file_sha256,
    $base + row_number AS seq
FROM staged
WHERE plain
"""
_TAKEN = """
SELECT row_number
FROM feedback
WHERE use_case = $use_case AND file_sha256 = $sha256 AND row_number BETWEEN $first AND $last
"""
# Keys first, by the number alone: the ids of history are read only where a key is the same.
_SAME_KEY = """
CREATE OR REPLACE TEMP TABLE same_key AS
SELECT n.row_number, n.feedback_id, h.rowid AS place
FROM feedback AS n
JOIN feedback AS h ON h.feedback_key = n.feedback_key
WHERE
    n.use_case = $use_case
    AND n.file_sha256 = $sha256
    AND h.use_case = $use_case
    AND h.file_sha256 <> $sha256
"""
_ANY_SAME_KEY = "SELECT count(*) FROM same_key"
_REMOVE_KNOWN = """
DELETE FROM feedback WHERE use_case = $use_case AND file_sha256 = $sha256 AND row_number IN (
    SELECT k.row_number
    FROM same_key AS k
    JOIN feedback AS h ON h.rowid = k.place
    WHERE h.feedback_id = k.feedback_id
)
"""
_PARK = """
UPDATE feedback SET seq = NULL
WHERE use_case = $use_case AND file_sha256 = $sha256 AND row_number IN (
    SELECT f.row_number
    FROM feedback AS f
    ANTI JOIN (
        SELECT prediction_key FROM predictions WHERE use_case = $use_case
    ) AS p ON p.prediction_key = md5_number_lower(f.prediction_id)
    WHERE f.use_case = $use_case AND f.file_sha256 = $sha256 AND f.text IS NULL
)
"""
_NAMING = ("feedback_id", "prediction_id", "customer_id", "rater_id", "group_id")
_NAMES = """
SELECT row_number, {}
FROM feedback
WHERE use_case = $use_case AND file_sha256 = $sha256
"""
_REMOVE_ROWS = """
DELETE FROM feedback
WHERE
    use_case = $use_case
    AND file_sha256 = $sha256
    AND row_number IN (SELECT unnest($rows::BIGINT[]))
"""
_HISTORY = "SELECT count(*), coalesce(max(seq), 0) FROM feedback"
_TAKEN_SO_FAR = """
SELECT count(*), count(DISTINCT feedback_key), count(text)
FROM feedback
WHERE use_case = $use_case AND file_sha256 = $sha256
"""
# Which of two clashing rows is kept never depends on the row order: the earliest given.
_REMOVE_REPEATS = """
DELETE FROM feedback WHERE use_case = $use_case AND file_sha256 = $sha256 AND row_number IN (
    SELECT row_number
    FROM feedback
    WHERE use_case = $use_case AND file_sha256 = $sha256
    QUALIFY row_number() OVER (
        PARTITION BY feedback_id
        ORDER BY
            given_at,
            kind,
            rater_id,
            source,
            coalesce(prediction_id, ''),
            coalesce(text, ''),
            coalesce(group_id, ''),
            coalesce(value, ''),
            coalesce(customer_id, ''),
            row_number
    ) > 1
)
"""
_NEW_AND_PARKED = """
SELECT count(*), count(*) - count(seq) FROM feedback WHERE use_case = ? AND file_sha256 = ?
"""
_ADD_FILE = "INSERT INTO ingested_files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"

# ---- Taking in

FEW_ROWS = 1_000
"""In a file, at most, to be judged one by one."""
_FEW_BYTES = 8 * 2**20
"""Of these rows, at most: all are held at once, and a row may have 16 MiB."""


def take_in(
    con: duckdb.DuckDBPyConnection,
    use_case: str,
    *,
    file: str,
    sha256: str,
    chunks: Callable[[], Iterator[Chunk]],
    labels: tuple[str, ...],
    by_customer: bool,
    gone: Forgotten,
    at: datetime,
    few_rows: int,
) -> Ingested:
    """Take in the rows of a new file, but none of forgotten people; to be called in a transaction.

    Of at most ``few_rows`` each is judged alone. A longer file is read once, as one stream, for its
    plain rows, and once more if it has others.
    Of rows in one file with one ``feedback_id``, the earliest given is kept.
    """
    here = {"use_case": use_case, "sha256": sha256}
    history, base = con.execute(_HISTORY).fetchall()[0]
    row = here | {"at": at, "base": base}
    rules = Rules(labels, by_customer)
    few = _few(chunks(), few_rows)
    quarantined = 0
    if few is not None:
        read = len(few)
        quarantined = take_judged(con, few, rules, row, file, gone)
    else:
        read, plain = _take_plain(con, chunks(), rules, row)
        if plain < read:
            for chunk in chunks():
                others = _others(con, chunk, rules, row)
                quarantined += take_judged(con, others, rules, row, file, gone)
    if gone:
        quarantined += refuse_forgotten(con, use_case, sha256, file, gone)
    new, parked = settle(con, here, history=history > 0)
    counts = Ingested(
        read=read,
        ingested=new - parked,
        duplicate=read - quarantined - new,
        quarantined=quarantined,
        parked=parked,
    )
    con.execute(_ADD_FILE, [use_case, sha256, file, *astuple(counts), at])
    return counts


def settle(
    con: duckdb.DuckDBPyConnection, here: dict[str, str], *, history: bool
) -> tuple[int, int]:
    """Leave out of a file's rows what is known and park what has no text yet; (rows, parked)."""
    taken, keys, texts = con.execute(_TAKEN_SO_FAR, here).fetchall()[0]
    if history:
        con.execute(_SAME_KEY, here)
        if con.execute(_ANY_SAME_KEY).fetchall()[0][0]:
            con.execute(_REMOVE_KNOWN, here)
    if keys < taken:
        con.execute(_REMOVE_REPEATS, here)
    if texts < taken:
        con.execute(_PARK, here)
    new, parked = con.execute(_NEW_AND_PARKED, [*here.values()]).fetchall()[0]
    return new, parked


def _few(chunks: Iterator[Chunk], most: int) -> list[tuple[int, Row]] | None:
    """All rows of a file, each with its number; None where they are more than ``most``, or long."""
    found: list[tuple[int, Row]] = []
    size = 0
    for chunk in chunks:
        size += chunk.table.nbytes + sum(len(raw) for _, (raw, _) in chunk.odd)
        if len(found) + chunk.table.num_rows + len(chunk.odd) > most or size > _FEW_BYTES:
            return None
        found += chunk.odd
        found += ((n, chunk.row(n)) for n in chunk.table["row_number"].to_pylist())
    return found


def _take_plain(
    con: duckdb.DuckDBPyConnection,
    chunks: Iterator[Chunk],
    rules: Rules,
    row: dict[str, Any],
) -> tuple[int, int]:
    """Insert the rows that are certain; return how many rows there are and how many these were."""
    stream = _Stream(chunks)
    first = stream.first()
    statement, parameters = fitted(first, _TAKE_PLAIN)
    taken = 0
    if first is not None and statement is not None:
        asked = parameters | rules.asked() | row
        with incoming(con, stream.reader(first)):
            taken = con.execute(statement, asked).fetchall()[0][0]
    return stream.count(), taken


class _Stream:
    """The tables of a file's chunks one after the other, for one statement to read."""

    def __init__(self, chunks: Iterator[Chunk]) -> None:
        self._chunks = chunks
        self._count = 0
        self._failure: FlywheelError | OSError | None = None

    def first(self) -> pa.Table | None:
        """Return the first table with rows, if there is one."""
        return next((table for table in self._tables() if table.num_rows), None)

    def reader(self, first: pa.Table) -> pa.RecordBatchReader:
        """Return ``first`` and the later tables that have its columns."""

        def batches() -> Iterator[pa.RecordBatch]:
            yield from first.to_batches()
            for table in self._tables():
                if table.schema == first.schema:
                    yield from table.to_batches()

        return pa.RecordBatchReader.from_batches(first.schema, batches())

    def count(self) -> int:
        """Read to the end; return how many rows there are, in tables and beside them.

        Raises:
            FlywheelError, OSError: the reading failed, here or in a statement.
        """
        for _ in self._tables():
            pass
        if self._failure is not None:
            raise self._failure
        return self._count

    def _tables(self) -> Iterator[pa.Table]:
        # An error must not pass through DuckDB, which would make another of it.
        try:
            for chunk in self._chunks:
                self._count += chunk.table.num_rows + len(chunk.odd)
                yield chunk.table
        except (FlywheelError, OSError) as error:
            self._failure = error


def _others(
    con: duckdb.DuckDBPyConnection, chunk: Chunk, rules: Rules, row: dict[str, Any]
) -> list[tuple[int, Row]]:
    """Take in what of a chunk is plain once its groups are named; the rows that are not."""
    others = list(chunk.odd)
    table = _not_taken(con, chunk.table, row)
    statement, parameters = fitted(table, _STAGE)
    if statement is not None:
        with incoming(con, table):
            con.execute(statement, parameters | rules.asked())
        _name_groups(con)
        con.execute(_TAKE_STAGED, row)
        others += [(n, chunk.row(n)) for (n,) in con.execute(_UNCERTAIN).fetchall()]
    elif table is not None:
        others += [(n, chunk.row(n)) for n in table["row_number"].to_pylist()]
    return others


def refuse_forgotten(
    con: duckdb.DuckDBPyConnection, use_case: str, sha256: str, file: str, gone: Forgotten
) -> int:
    """Move rows of forgotten people to quarantine, without what they say; the number moved."""
    here = {"use_case": use_case, "sha256": sha256}
    fields = (*_NAMING, "text", "value") if gone.has_texts else _NAMING
    found = con.execute(_NAMES.format(", ".join(fields)), here).fetchall()
    theirs = [number for number, *row in found if gone.row(dict(zip(fields, row, strict=True)))]
    if theirs:
        con.execute(_REMOVE_ROWS, here | {"rows": theirs})
        refused = [(number, "", FORGOTTEN) for number in theirs]
        with incoming(con, rejected_table(use_case, file, sha256, refused)):
            con.execute(QUARANTINE)
    return len(theirs)


def _not_taken(
    con: duckdb.DuckDBPyConnection, table: pa.Table, row: dict[str, Any]
) -> pa.Table | None:
    """Return the rows that are not in the warehouse yet; None where all are."""
    if not table.num_rows:
        return None
    numbers = table["row_number"].to_numpy()
    asked = {"first": int(numbers[0]), "last": int(numbers[-1])}
    here = {name: row[name] for name in ("use_case", "sha256")}
    taken = con.execute(_TAKEN, here | asked).fetchnumpy()["row_number"]
    left = ~np.isin(numbers, taken)
    return table.filter(pa.array(left)) if left.any() else None


def _name_groups(con: duckdb.DuckDBPyConnection) -> None:
    """Name the groups of texts that are not ASCII: SQL cannot fold those."""
    rows = con.execute(_WITHOUT_GROUP).fetchall()
    if rows:
        named = {
            "row_number": pa.array([number for number, _ in rows], pa.int64()),
            "group_id": strings(text_group(text) for _, text in rows),
        }
        with incoming(con, pa.table(named)):
            con.execute(_SET_GROUPS)
