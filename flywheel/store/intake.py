"""Feedback rows taken in set-wise: DuckDB judges the plain ones, `parse_feedback` all others.

A row is plain when it certainly keeps the contract of `parse_feedback` and certainly means what
the SQL here makes of it. Whatever is not certain (an unusual time, an exotic white space, an
escape, a surplus comma) goes to `parse_feedback`, so both ways agree on every row.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple
from datetime import datetime
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from flywheel.errors import FlywheelError
from flywheel.feedback import MAX_ID_CHARS, text_group
from flywheel.feedback_files import FIELDS, Chunk, judge
from flywheel.forgetting import FORGOTTEN, Forgotten
from flywheel.records import FEEDBACK_KINDS, Feedback, Ingested
from flywheel.store.columns import incoming, strings, times

# ---- SQL that tells plain rows. ``incoming`` is the chunk's table.

# One JSON text per row. Keys, grammar and types are settled by the two forms of ``_sure``.
_FROM_LINES = """
SELECT
    row_number,
    <<sure>> AS sure,
    r.feedback_id,
    r.kind,
    r.value,
    r.prediction_id,
    r.text,
    r.group_id,
    r.customer_id,
    r.rater_id,
    r.source,
    r.given_at
FROM (
    SELECT
        row_number,
        line,
        CASE
            WHEN json_valid(line)
            THEN from_json(
                line,
                '{"feedback_id": "VARCHAR", "kind": "VARCHAR", "value": "VARCHAR",
                  "prediction_id": "VARCHAR", "text": "VARCHAR", "group_id": "VARCHAR",
                  "customer_id": "VARCHAR", "rater_id": "VARCHAR", "source": "VARCHAR",
                  "given_at": "VARCHAR"}'
            )
        END AS r
    FROM incoming
)
"""
# A \\u escape may stand for a NUL, which no pattern can see. (That it stands for half a character
# is seen by json_valid.)
_MATCHES = """
(regexp_full_match(line, $layouts) AND r IS NOT NULL AND NOT contains(line, '\\u0000'))
"""

# A file without some of the columns leaves them null.
_NO_FIELDS = """
SELECT
    NULL::BIGINT AS row_number,
    NULL::VARCHAR AS feedback_id,
    NULL::VARCHAR AS kind,
    NULL::VARCHAR AS value,
    NULL::VARCHAR AS prediction_id,
    NULL::VARCHAR AS text,
    NULL::VARCHAR AS group_id,
    NULL::VARCHAR AS customer_id,
    NULL::VARCHAR AS rater_id,
    NULL::VARCHAR AS source,
    NULL::VARCHAR AS given_at,
    true AS sure
WHERE false
"""
_FROM_COLUMNS = f"{_NO_FIELDS} UNION ALL BY NAME SELECT *, true AS sure FROM incoming"
_FROM_COLUMNS_WITH_TIMES = f"""
{_NO_FIELDS} UNION ALL BY NAME
SELECT * REPLACE (
    strftime(make_timestamp(epoch_us(given_at)), '%Y-%m-%dT%H:%M:%S.%f+00:00') AS given_at
), true AS sure
FROM incoming
"""


def _written(field: str) -> str:
    """Missing, or with at least one character that is certainly no white space."""
    return f"""CASE
        WHEN {field} IS NULL THEN true
        WHEN {field} >= '!' AND {field} < '~' THEN true
        ELSE regexp_matches({field}, '[!-~\\pL\\pN]')
    END"""


def _identifier(field: str) -> str:
    return f"({_written(field)} AND coalesce(strlen({field}) <= {MAX_ID_CHARS}, true))"


def _quoted(field: str) -> str:
    """As ``json.dumps`` writes it, where the text is printable ASCII."""
    return f"coalesce(to_json({field})::VARCHAR, 'null')"


_MOMENT = (
    r"[1-9]\d{3}-\d\d-\d\d[T ](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{3}|\.\d{6})?"
    r"(?:Z|[+-](?:0\d|1[0-4]):[0-5]\d)"
)
_RATING = r"-?\d{1,15}(?:\.\d{1,15})?"
_ASCII_SPACES = r"[\t-\r\x1c-\x1f ]+"

# As `text_group` folds a text, where it is ASCII.
_FOLDED = f"""
CASE
    WHEN regexp_matches(text, '^[\\t-\\r\\x1c-\\x1f ]|[\\t-\\r\\x1c-\\x1f]|  | $')
    THEN trim(regexp_replace(lower(text), '{_ASCII_SPACES}', ' ', 'g'))
    ELSE lower(text)
END
"""
# As `parse_feedback` spells a row without an id, before it is hashed.
_CONTENT = f"""
'{{"customer_id": ' || {_quoted("customer_id")}
|| ', "given_at": "' || strftime(make_timestamp(epoch_us(moment)), '%Y-%m-%dT%H:%M:%S')
|| CASE
    WHEN epoch_us(moment) % 1000000 = 0 THEN ''
    ELSE strftime(make_timestamp(epoch_us(moment)), '.%f')
END
|| '+00:00", "group_id": ' || {_quoted("group_of")}
|| ', "kind": ' || {_quoted("kind")}
|| ', "prediction_id": ' || {_quoted("prediction_id")}
|| ', "rater_id": ' || {_quoted("rater_id")}
|| ', "source": ' || {_quoted("source")}
|| ', "text": ' || {_quoted("text")}
|| ', "value": ' || {_quoted("value")}
|| '}}'
"""
_IN_CONTENT = ("customer_id", "group_of", "prediction_id", "rater_id", "source", "text", "value")
_PRINTABLE = " AND ".join(
    f"({field} IS NULL OR regexp_full_match({field}, '[ -~\\t\\n\\r]*'))" for field in _IN_CONTENT
)
_NULLED = ", ".join(f"nullif({field}, '') AS {field}" for field in FIELDS)
_IDENTIFIERS = " AND ".join(
    _identifier(field)
    for field in ("feedback_id", "rater_id", "source", "prediction_id", "customer_id", "group_id")
)

_JUDGED = f"""
WITH fields AS (<<rows>>),
named AS (SELECT row_number, sure, {_NULLED} FROM fields),
judged AS (
    SELECT
        *,
        TRY_CAST(
            CASE WHEN regexp_full_match(given_at, '{_MOMENT}') THEN given_at END AS TIMESTAMPTZ
        ) AS moment,
        CASE
            WHEN group_id IS NOT NULL THEN group_id
            WHEN strlen(text) = length(text) THEN substr(sha256({_FOLDED}), 1, 32)
        END AS group_of,
        coalesce(
            sure
            AND list_contains($kinds, kind)
            AND rater_id IS NOT NULL
            AND source IS NOT NULL
            AND (prediction_id IS NOT NULL OR text IS NOT NULL)
            AND {_IDENTIFIERS}
            AND {_written("text")}
            AND {_written("value")}
            AND CASE
                WHEN kind IN ('accept', 'reject') THEN value IS NULL
                WHEN kind IN ('correct', 'label') THEN list_contains($labels, value)
                WHEN kind = 'rate' THEN regexp_full_match(value, '{_RATING}')
                ELSE value IS NOT NULL
            END,
            false
        ) AS fits
    FROM named
),
identified AS (
    SELECT
        *,
        coalesce(
            feedback_id,
            CASE
                WHEN fits AND {_PRINTABLE} AND (text IS NULL OR group_of IS NOT NULL)
                THEN substr(sha256({_CONTENT}), 1, 32)
            END
        ) AS id
    FROM judged
)
SELECT
    row_number,
    id AS feedback_id,
    kind,
    value,
    prediction_id,
    text,
    group_of AS group_id,
    customer_id,
    rater_id,
    source,
    moment AS given_at,
    md5_number_lower(id) AS feedback_key,
    fits AND id IS NOT NULL
        AND coalesce(moment > '1000-01-02T00:00:00Z'::TIMESTAMPTZ, false)
        AND coalesce(moment < '9999-12-30T00:00:00Z'::TIMESTAMPTZ, false) AS plain
FROM identified
"""
_TAKE_PLAIN = f"""
INSERT INTO feedback BY NAME
SELECT
    * EXCLUDE (plain),
    $use_case AS use_case,
    $at::TIMESTAMPTZ AS ingested_at,
    $sha256 AS file_sha256,
    $base + row_number AS seq
FROM ({_JUDGED})
WHERE plain AND (group_id IS NOT NULL OR text IS NULL)
"""
_STAGE = f"CREATE OR REPLACE TEMP TABLE staged AS {_JUDGED}"
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
_TAKE_ACCEPTED = """
INSERT INTO feedback BY NAME
SELECT
    *,
    md5_number_lower(feedback_id) AS feedback_key,
    $use_case AS use_case,
    $at::TIMESTAMPTZ AS ingested_at,
    $sha256 AS file_sha256,
    $base + row_number AS seq
FROM incoming
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
_NAMES = f"""
SELECT row_number, {", ".join(_NAMING)}
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
_QUARANTINE = "INSERT INTO quarantine BY NAME SELECT * FROM incoming"
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


def take_in(
    con: duckdb.DuckDBPyConnection,
    use_case: str,
    *,
    file: str,
    sha256: str,
    chunks: Callable[[], Iterator[Chunk]],
    labels: tuple[str, ...],
    gone: Forgotten,
    at: datetime,
) -> Ingested:
    """Take in the rows of a new file, but none of forgotten people; to be called in a transaction.

    The file is read once, as one stream, for its plain rows, and once more if it has others.
    Of rows in one file with one ``feedback_id``, the earliest given is kept.
    """
    here = {"use_case": use_case, "sha256": sha256}
    history, base = con.execute(_HISTORY).fetchall()[0]
    row = here | {"at": at, "base": base}
    read, plain = _take_plain(con, chunks(), labels, row)
    quarantined = 0
    if plain < read:
        for chunk in chunks():
            quarantined += _take_others(con, chunk, labels, row, file, gone)
    if gone:
        quarantined += _refuse_forgotten(con, use_case, sha256, file, gone)
    taken, keys, texts = con.execute(_TAKEN_SO_FAR, here).fetchall()[0]
    if history:
        con.execute(_SAME_KEY, here)
        if con.execute(_ANY_SAME_KEY).fetchall()[0][0]:
            con.execute(_REMOVE_KNOWN, here)
    if keys < taken:
        con.execute(_REMOVE_REPEATS, here)
    if texts < taken:
        con.execute(_PARK, here)
    new, parked = con.execute(_NEW_AND_PARKED, [use_case, sha256]).fetchall()[0]
    counts = Ingested(
        read=read,
        ingested=new - parked,
        duplicate=read - quarantined - new,
        quarantined=quarantined,
        parked=parked,
    )
    con.execute(_ADD_FILE, [use_case, sha256, file, *astuple(counts), at])
    return counts


def _take_plain(
    con: duckdb.DuckDBPyConnection,
    chunks: Iterator[Chunk],
    labels: tuple[str, ...],
    row: dict[str, Any],
) -> tuple[int, int]:
    """Insert the rows that are certain; return how many rows there are and how many these were."""
    stream = _Stream(chunks)
    first = stream.first()
    statement, parameters = _statement(first, _TAKE_PLAIN)
    taken = 0
    if first is not None and statement is not None:
        asked = parameters | _contract(labels) | row
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


def _take_others(
    con: duckdb.DuckDBPyConnection,
    chunk: Chunk,
    labels: tuple[str, ...],
    row: dict[str, Any],
    file: str,
    gone: Forgotten,
) -> int:
    """Take in or quarantine the rows of a chunk that are not in yet; the number quarantined."""
    others = list(chunk.odd)
    table = _not_taken(con, chunk.table, row)
    statement, parameters = _statement(table, _STAGE)
    if statement is not None:
        with incoming(con, table):
            con.execute(statement, parameters | _contract(labels))
        _name_groups(con)
        con.execute(_TAKE_STAGED, row)
        others += [(n, chunk.row(n)) for (n,) in con.execute(_UNCERTAIN).fetchall()]
    elif table is not None:
        others += [(n, chunk.row(n)) for n in table["row_number"].to_pylist()]
    accepted: list[tuple[int, Feedback]] = []
    rejected: list[tuple[int, str, str]] = []
    for number, one in others:
        judged = judge(one, labels)
        if isinstance(judged, Feedback):
            accepted.append((number, judged))
        else:
            raw, reason = judged
            theirs = gone.raw(raw)
            rejected.append((number, "", FORGOTTEN) if theirs else (number, raw, reason))
    if accepted:
        with incoming(con, _accepted_table(accepted)):
            con.execute(_TAKE_ACCEPTED, row)
    if rejected:
        with incoming(con, _rejected_table(row["use_case"], file, row["sha256"], rejected)):
            con.execute(_QUARANTINE)
    return len(rejected)


def _refuse_forgotten(
    con: duckdb.DuckDBPyConnection, use_case: str, sha256: str, file: str, gone: Forgotten
) -> int:
    """Move rows of forgotten people to quarantine, without what they say; the number moved."""
    here = {"use_case": use_case, "sha256": sha256}
    found = con.execute(_NAMES, here).fetchall()
    theirs = [
        number for number, *names in found if gone.row(dict(zip(_NAMING, names, strict=True)))
    ]
    if theirs:
        con.execute(_REMOVE_ROWS, here | {"rows": theirs})
        refused = [(number, "", FORGOTTEN) for number in theirs]
        with incoming(con, _rejected_table(use_case, file, sha256, refused)):
            con.execute(_QUARANTINE)
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


def _contract(labels: tuple[str, ...]) -> dict[str, Any]:
    return {"kinds": list(FEEDBACK_KINDS), "labels": list(labels)}


def _statement(table: pa.Table | None, statement: str) -> tuple[str | None, dict[str, Any]]:
    """Fit a statement to a table's columns; None where no row of it could be plain."""
    if table is None:
        return None, {}
    if "line" in table.column_names:
        sure, parameters = _sure(table)
        rows = _FROM_LINES.replace("<<sure>>", sure)
        return (statement.replace("<<rows>>", rows), parameters) if sure else (None, {})
    if "given_at" not in table.column_names:
        return None, {}
    moments = pa.types.is_timestamp(table.schema.field("given_at").type)
    rows = _FROM_COLUMNS_WITH_TIMES if moments else _FROM_COLUMNS
    return statement.replace("<<rows>>", rows), {}


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


# ---- Layouts of JSON rows

_SAMPLE_ROWS = 500
_MAX_LAYOUTS = 8
_MAX_FORMS = 4
_KEY = re.compile(r"[A-Za-z0-9_. -]{1,64}")
_SPACE = r"[ \t\r\n]*"
_STRING = r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"'
_SCALAR = (
    r"(?:true|false|-?(?:0|[1-9][0-9]{0,15})(?:\.[0-9]{1,15})?(?:[eE][+-]?[0-9]{1,2})?"
    rf"|null|{_STRING})"
)
_SEPARATORS = ((", ", ": "), (",", ":"))


def _sure(table: pa.Table) -> tuple[str, dict[str, Any]]:
    """Return SQL that holds only for lines that certainly say what was read from them.

    First, for lines without a backslash: the values, put back into a usual form, are the line
    to the letter; so it has no other key, and none twice. Otherwise, by a pattern: a flat object
    with its keys in a usual order, and a string or null in every one of `FIELDS`.
    """
    lines = table["line"]
    layouts: Counter[tuple[str, ...]] = Counter()
    forms: Counter[tuple[tuple[str, ...], tuple[str, ...]]] = Counter()
    for index in range(0, len(lines), max(1, len(lines) // _SAMPLE_ROWS)):
        line = lines[index].as_py()
        try:
            pairs = json.loads(line, object_pairs_hook=tuple)
        except (ValueError, RecursionError):
            continue
        if not isinstance(pairs, tuple) or not pairs:
            continue
        keys = tuple(key for key, _ in pairs)
        if len(set(keys)) < len(keys) or not all(_KEY.fullmatch(key) for key in keys):
            continue
        layouts[keys] += 1
        if set(keys) <= set(FIELDS) and "\\" not in line:
            form = _form(line, pairs)
            if form is not None:
                forms[keys, form] += 1
    parameters: dict[str, Any] = {}
    cases = []
    for number, ((keys, form), _) in enumerate(forms.most_common(_MAX_FORMS)):
        names = [f"form_{number}_{place}" for place in range(len(form))]
        parameters |= dict(zip(names, form, strict=True))
        values = [f"r.{key}" for key in keys]
        parts = [part for pair in zip(names, [*values, ""], strict=True) for part in pair][:-1]
        spelled = ", ".join(part if part.startswith("r.") else f"${part}" for part in parts)
        cases.append(f"WHEN NOT contains(line, '\\') AND line = concat({spelled}) THEN true")
    if not layouts:
        return "", {}
    parameters["layouts"] = "|".join(_layout(keys) for keys, _ in layouts.most_common(_MAX_LAYOUTS))
    return f"CASE {' '.join(cases)} ELSE {_MATCHES} END" if cases else _MATCHES, parameters


def _form(line: str, pairs: Sequence[tuple[str, object]]) -> tuple[str, ...] | None:
    """Return what stands before, between and after the values of a line, if they are strings."""
    if not all(isinstance(value, str) for _, value in pairs):
        return None
    end = line[len(line.rstrip("\r\n")) :]
    for comma, colon in _SEPARATORS:
        first, *others = (f'"{key}"{colon}"' for key, _ in pairs)
        form = ("{" + first, *(f'"{comma}{other}' for other in others), '"}' + end)
        values = [str(value) for _, value in pairs]
        if line == "".join(a + b for a, b in zip(form, [*values, ""], strict=True)):
            return form
    return None


def _layout(keys: Sequence[str]) -> str:
    pairs = (
        rf'"{re.escape(key)}"{_SPACE}:{_SPACE}'
        + (rf"(?:null|{_STRING})" if key in FIELDS else _SCALAR)
        for key in keys
    )
    body = rf"{_SPACE},{_SPACE}".join(pairs)
    return rf"{_SPACE}\{{{_SPACE}{body}{_SPACE}\}}{_SPACE}"


# ---- Columns


def _accepted_table(accepted: Sequence[tuple[int, Feedback]]) -> pa.Table:
    rows = [feedback for _, feedback in accepted]
    return pa.table(
        {
            "row_number": pa.array([number for number, _ in accepted], pa.int64()),
            "feedback_id": strings(f.feedback_id for f in rows),
            "kind": strings(f.kind for f in rows),
            "value": strings(f.value for f in rows),
            "prediction_id": strings(f.prediction_id for f in rows),
            "text": strings(f.text for f in rows),
            "group_id": strings(
                text_group(f.text) if f.group_id is None and f.text is not None else f.group_id
                for f in rows
            ),
            "customer_id": strings(f.customer_id for f in rows),
            "rater_id": strings(f.rater_id for f in rows),
            "source": strings(f.source for f in rows),
            "given_at": times(f.given_at for f in rows),
        }
    )


def _rejected_table(
    use_case: str, file: str, sha256: str, rejected: Sequence[tuple[int, str, str]]
) -> pa.Table:
    return pa.table(
        {
            "use_case": strings(use_case for _ in rejected),
            "file": strings(file for _ in rejected),
            "file_sha256": strings(sha256 for _ in rejected),
            "row_number": pa.array([number for number, _, _ in rejected], pa.int64()),
            "reason": strings(reason for _, _, reason in rejected),
            "raw": strings(raw for _, raw, _ in rejected),
        }
    )
