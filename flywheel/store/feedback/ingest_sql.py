"""SQL that tells plain rows: those that certainly keep the contract of `parse_feedback`.

And that certainly mean what the SQL makes of them. Whatever is not certain (an unusual time, an
exotic white space, an escape, a surplus comma) is for `parse_feedback`, so that judging set-wise
and one by one agree on every row. What `contract` says of fields and kinds is built in; wherever
`parse_feedback` reads a field's form in another way, this changes with it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from flywheel.ingestion.contract import (
    ABSENT,
    FIELDS,
    IDENTIFIERS,
    MAX_ID_CHARS,
    RULES,
    VALUES,
    Value,
)

# ---- SQL that tells plain rows. ``incoming`` is the chunk's table.

# One JSON text per row. Keys, grammar and types are settled by the two forms of ``_sure``.
_FROM_LINES = f"""
SELECT row_number, <<sure>> AS sure, {", ".join(f"r.{field}" for field in FIELDS)}
FROM (
    SELECT
        row_number,
        line,
        CASE
            WHEN json_valid(line)
            THEN from_json(line, '{json.dumps(dict.fromkeys(FIELDS, "VARCHAR"))}')
        END AS r
    FROM incoming
)
"""
# A \u escape may stand for a NUL, which no pattern can see. (That it stands for half a character
# is seen by json_valid.)
_MATCHES = """
(regexp_full_match(line, $layouts) AND r IS NOT NULL AND NOT contains(line, '\\u0000'))
"""

# A file without some of the columns leaves them null.
_NO_FIELDS = f"""
SELECT
    NULL::BIGINT AS row_number,
    {", ".join(f"NULL::VARCHAR AS {field}" for field in FIELDS)},
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
# As `parse_feedback` spells a row without an id, before it is hashed: there a text without a group
# is its own, whoever the customer is.
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
_MISSING = ", ".join(f"'{word}'" for word in ("", *ABSENT))
_NULLED = ", ".join(
    f"CASE WHEN {field} NOT IN ({_MISSING}) THEN {field} END AS {field}"
    if field in IDENTIFIERS
    else f"nullif({field}, '') AS {field}"
    for field in FIELDS
)
_IDENTIFIERS = " AND ".join(_identifier(field) for field in IDENTIFIERS)
_REQUIRED = " AND ".join(f"{rule.name} IS NOT NULL" for rule in RULES if rule.required)
_HOLDS: dict[Value, str] = {
    "none": "value IS NULL",
    "label": """value IS NOT NULL
        AND (len($labels::VARCHAR[]) = 0 OR list_contains($labels::VARCHAR[], value))""",
    "number": f"regexp_full_match(value, '{_RATING}')",
    "text": "value IS NOT NULL",
}
# a kind that is unknown is none of these
_KINDS = " ".join(f"WHEN '{kind}' THEN {_HOLDS[form]}" for kind, form in VALUES.items())

JUDGED = f"""
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
        CASE
            WHEN $by_customer AND group_id IS NULL AND text IS NOT NULL THEN customer_id
        END AS group_of_customer,
        coalesce(
            sure
            AND {_REQUIRED}
            AND (prediction_id IS NOT NULL OR text IS NOT NULL)
            AND {_IDENTIFIERS}
            AND {_written("text")}
            AND {_written("value")}
            AND CASE kind {_KINDS} ELSE false END,
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
    coalesce(group_of_customer, group_of) AS group_id,
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

# ---- Statements


def fitted(table: pa.Table | None, statement: str) -> tuple[str | None, dict[str, Any]]:
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


def contract(labels: tuple[str, ...], *, by_customer: bool) -> dict[str, Any]:
    return {"labels": list(labels), "by_customer": by_customer}


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
