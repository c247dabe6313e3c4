"""Feedback rows taken in set-wise: DuckDB judges the plain ones, `parse_feedback` all others.

A row is plain when it certainly keeps the contract of `parse_feedback` and certainly means what
the SQL here makes of it. Whatever is not certain (an unusual time, an exotic white space, an
escape, a surplus comma) goes to `parse_feedback`, so both ways agree on every row.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa

from flywheel.feedback import MAX_ID_CHARS, text_group
from flywheel.feedback_files import FIELDS, Chunk, judge
from flywheel.records import FEEDBACK_KINDS, Feedback, Ingested
from flywheel.store.columns import incoming, strings, times

# ---- SQL that tells plain rows. ``incoming`` is the chunk's table.

# One JSON text per row, of a known layout: keys, grammar and types are settled by the pattern.
# A \u escape may stand for half a character or a NUL, which the pattern cannot see.
_FROM_LINES = """
SELECT
    row_number,
    unnest(from_json(
        CASE
            WHEN regexp_full_match(line, $layouts)
            AND CASE
                WHEN contains(line, '\\u')
                THEN NOT contains(line, '\\u0000') AND json_valid(line)
                ELSE true
            END
            THEN line
        END,
        '{"feedback_id": "VARCHAR", "kind": "VARCHAR", "value": "VARCHAR",
          "prediction_id": "VARCHAR", "text": "VARCHAR", "group_id": "VARCHAR",
          "customer_id": "VARCHAR", "rater_id": "VARCHAR", "source": "VARCHAR",
          "given_at": "VARCHAR"}'
    ))
FROM incoming
"""

# A file without some of the columns leaves them null; a NUL is for `parse_feedback` to refuse.
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
    NULL::VARCHAR AS given_at
WHERE false
"""
_FROM_COLUMNS = f"{_NO_FIELDS} UNION ALL BY NAME SELECT * FROM incoming"
_FROM_COLUMNS_WITH_TIMES = f"""
{_NO_FIELDS} UNION ALL BY NAME
SELECT * REPLACE (
    strftime(make_timestamp(epoch_us(given_at)), '%Y-%m-%dT%H:%M:%S.%f+00:00') AS given_at
)
FROM incoming
"""


def _written(field: str) -> str:
    """Missing, or with at least one character that is no white space and no NUL anywhere."""
    return f"""(
        {field} IS NULL
        OR (
            (({field} >= '!' AND {field} < '~') OR regexp_matches({field}, '[!-~\\pL\\pN]'))
            AND NOT contains({field}, chr(0))
        )
    )"""


def _identifier(field: str) -> str:
    return f"({_written(field)} AND ({field} IS NULL OR strlen({field}) <= {MAX_ID_CHARS}))"


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

_STAGE = f"""
CREATE OR REPLACE TEMP TABLE staged AS
WITH fields AS (<<rows>>),
named AS (SELECT row_number, {_NULLED} FROM fields),
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
            list_contains($kinds, kind)
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
_STAGE_LINES = _STAGE.replace("<<rows>>", _FROM_LINES)
_STAGE_COLUMNS = _STAGE.replace("<<rows>>", _FROM_COLUMNS)
_STAGE_COLUMNS_WITH_TIMES = _STAGE.replace("<<rows>>", _FROM_COLUMNS_WITH_TIMES)
_STAGE_NOTHING = """
CREATE OR REPLACE TEMP TABLE staged AS
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
    NULL::TIMESTAMPTZ AS given_at,
    NULL::UBIGINT AS feedback_key,
    NULL::BOOLEAN AS plain
WHERE false
"""
_UNCERTAIN = "SELECT row_number FROM staged WHERE NOT plain ORDER BY row_number"
_WITHOUT_GROUP = """
SELECT row_number, text FROM staged WHERE plain AND group_id IS NULL AND text IS NOT NULL
"""
_SET_GROUPS = """
UPDATE staged SET group_id = i.group_id FROM incoming AS i WHERE staged.row_number = i.row_number
"""

# ---- SQL that takes them in

_STAGE_JUDGED = """
INSERT INTO staged BY NAME
SELECT *, md5_number_lower(feedback_id) AS feedback_key, true AS plain FROM incoming
"""
# Keys first, by the number alone: the ids of history are read only where a key is the same.
_SAME_KEY = """
CREATE OR REPLACE TEMP TABLE same_key AS
SELECT s.row_number, s.feedback_id, f.rowid AS place
FROM staged AS s
JOIN feedback AS f ON f.feedback_key = s.feedback_key
WHERE s.plain AND f.use_case = $use_case AND f.file_sha256 <> $sha256
"""
_KNOWN = """
CREATE OR REPLACE TEMP TABLE known AS
SELECT DISTINCT k.row_number
FROM same_key AS k
JOIN feedback AS f ON f.rowid = k.place
WHERE f.feedback_id = k.feedback_id
"""
_TAKE_IN = """
INSERT INTO feedback BY NAME
SELECT
    $use_case AS use_case,
    s.feedback_id,
    s.kind,
    s.value,
    s.prediction_id,
    s.text,
    s.group_id,
    s.customer_id,
    s.rater_id,
    s.source,
    s.given_at,
    $at::TIMESTAMPTZ AS ingested_at,
    $sha256 AS file_sha256,
    s.row_number,
    s.feedback_key,
    CASE
        WHEN s.text IS NOT NULL OR md5_number_lower(s.prediction_id) IN (
            SELECT p.prediction_key FROM predictions AS p WHERE p.use_case = $use_case
        )
        THEN $base + s.row_number
    END AS seq
FROM staged AS s
WHERE s.plain AND s.row_number NOT IN (SELECT k.row_number FROM known AS k)
"""
_TAKE_IN_TEXTS = _TAKE_IN.replace(
    """CASE
        WHEN s.text IS NOT NULL OR md5_number_lower(s.prediction_id) IN (
            SELECT p.prediction_key FROM predictions AS p WHERE p.use_case = $use_case
        )
        THEN $base + s.row_number
    END AS seq""",
    "$base + s.row_number AS seq",
)
_ALL_TEXTS = "SELECT count(*) = 0 FROM staged WHERE plain AND text IS NULL"
_QUARANTINE = "INSERT INTO quarantine BY NAME SELECT * FROM incoming"
_LAST_SEQ = "SELECT coalesce(max(seq), 0) FROM feedback"
_REPEATED = """
SELECT count(*) FROM (
    SELECT feedback_key
    FROM feedback
    WHERE use_case = ? AND file_sha256 = ?
    GROUP BY feedback_key
    HAVING count(*) > 1
)
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
    chunks: Iterable[Chunk],
    labels: tuple[str, ...],
    at: datetime,
) -> Ingested:
    """Take in the rows of a new file; to be called in a transaction.

    Of rows in one file with one ``feedback_id``, the earliest given is kept.
    """
    here = {"use_case": use_case, "sha256": sha256}
    base = con.execute(_LAST_SEQ).fetchall()[0][0]
    read = quarantined = 0
    for chunk in chunks:
        accepted, rejected = _stage(con, chunk, labels)
        read += chunk.table.num_rows + len(chunk.odd)
        quarantined += len(rejected)
        if accepted:
            with incoming(con, _accepted_table(accepted)):
                con.execute(_STAGE_JUDGED)
        if rejected:
            with incoming(con, _rejected_table(use_case, file, sha256, rejected)):
                con.execute(_QUARANTINE)
        con.execute(_SAME_KEY, here)
        con.execute(_KNOWN)
        texts = con.execute(_ALL_TEXTS).fetchall()[0][0]
        con.execute(_TAKE_IN_TEXTS if texts else _TAKE_IN, here | {"base": base, "at": at})
    if con.execute(_REPEATED, [use_case, sha256]).fetchall()[0][0]:
        con.execute(_REMOVE_REPEATS, here)
    new, parked = con.execute(_NEW_AND_PARKED, [use_case, sha256]).fetchall()[0]
    counts = Ingested(
        read=read,
        ingested=new - parked,
        duplicate=read - quarantined - new,
        quarantined=quarantined,
        parked=parked,
    )
    con.execute(
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


def _stage(
    con: duckdb.DuckDBPyConnection, chunk: Chunk, labels: tuple[str, ...]
) -> tuple[list[tuple[int, Feedback]], list[tuple[int, str, str]]]:
    """Put the plain rows into table ``staged``; return all others, judged one by one."""
    statement, parameters = _statement(chunk.table)
    if statement is None:
        con.execute(_STAGE_NOTHING)
        uncertain = [(int(n.as_py()), chunk.row(n.as_py())) for n in chunk.table["row_number"]]
    else:
        parameters |= {"kinds": list(FEEDBACK_KINDS), "labels": list(labels)}
        with incoming(con, chunk.table):
            con.execute(statement, parameters)
        uncertain = [(n, chunk.row(n)) for (n,) in con.execute(_UNCERTAIN).fetchall()]
        _name_groups(con)
    accepted: list[tuple[int, Feedback]] = []
    rejected: list[tuple[int, str, str]] = []
    for number, row in sorted([*chunk.odd, *uncertain], key=lambda one: one[0]):
        judged = judge(row, labels)
        if isinstance(judged, Feedback):
            accepted.append((number, judged))
        else:
            rejected.append((number, *judged))
    return accepted, rejected


def _statement(table: pa.Table) -> tuple[str | None, dict[str, Any]]:
    """Return how to tell the plain rows of a chunk, None where none could be."""
    if not table.num_rows:
        return None, {}
    if "line" in table.column_names:
        layouts = _layouts(table)
        return (_STAGE_LINES, {"layouts": layouts}) if layouts else (None, {})
    if "given_at" not in table.column_names:
        return None, {}
    moments = pa.types.is_timestamp(table.schema.field("given_at").type)
    return (_STAGE_COLUMNS_WITH_TIMES if moments else _STAGE_COLUMNS), {}


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
_KEY = re.compile(r"[A-Za-z0-9_. -]{1,64}")
_SPACE = r"[ \t\r\n]*"
_STRING = r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"'
_SCALAR = (
    r"(?:true|false|-?(?:0|[1-9][0-9]{0,15})(?:\.[0-9]{1,15})?(?:[eE][+-]?[0-9]{1,2})?"
    rf"|null|{_STRING})"
)


def _layouts(table: pa.Table) -> str | None:
    """Return a pattern for the usual rows: flat objects, with their keys in a usual order.

    What it matches is JSON without doubt, names no key twice, and has a string or null in every
    one of `FIELDS`.
    """
    lines = table["line"]
    step = max(1, len(lines) // _SAMPLE_ROWS)
    seen: Counter[tuple[str, ...]] = Counter()
    for index in range(0, len(lines), step):
        try:
            pairs = json.loads(lines[index].as_py(), object_pairs_hook=tuple)
        except (ValueError, RecursionError):
            continue
        if isinstance(pairs, tuple) and pairs:
            keys = tuple(key for key, _ in pairs)
            if len(set(keys)) == len(keys) and all(_KEY.fullmatch(key) for key in keys):
                seen[keys] += 1
    common = sorted(seen.items(), key=lambda one: (-one[1], one[0]))[:_MAX_LAYOUTS]
    return "|".join(_layout(keys) for keys, _ in common) or None


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
