"""Rows that `parse_feedback` judged one by one, taken in or set apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from flywheel.ingestion.contract import EDITION
from flywheel.ingestion.feedback import group_of
from flywheel.ingestion.readers import judge
from flywheel.ingestion.readers.chunk import Row
from flywheel.privacy.erasure_plan import FORGOTTEN, Forgotten
from flywheel.records import Feedback
from flywheel.store.arrow_columns import incoming, strings, times
from flywheel.store.feedback.ingest_sql import contract

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
QUARANTINE = "INSERT INTO quarantine BY NAME SELECT * FROM incoming"


@dataclass(frozen=True)
class Rules:
    """What the use case says of rows: its labels, and whether customers are groups."""

    labels: tuple[str, ...]
    by_customer: bool

    def asked(self) -> dict[str, Any]:
        return contract(self.labels, by_customer=self.by_customer)


def take_judged(
    con: duckdb.DuckDBPyConnection,
    rows: Sequence[tuple[int, Row]],
    rules: Rules,
    row: dict[str, Any],
    file: str,
    gone: Forgotten,
) -> int:
    """Take in or quarantine rows as `parse_feedback` judges them; the number quarantined."""
    accepted: list[tuple[int, Feedback]] = []
    rejected: list[tuple[int, str, str]] = []
    for number, one in rows:
        judged = judge(one, rules.labels, by_customer=rules.by_customer)
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
        with incoming(con, rejected_table(row["use_case"], file, row["sha256"], rejected)):
            con.execute(QUARANTINE)
    return len(rejected)


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
                f.group_id
                if f.text is None
                else group_of(f.text, group=f.group_id, customer=f.customer_id)
                for f in rows
            ),
            "customer_id": strings(f.customer_id for f in rows),
            "rater_id": strings(f.rater_id for f in rows),
            "source": strings(f.source for f in rows),
            "given_at": times(f.given_at for f in rows),
        }
    )


def rejected_table(
    use_case: str, file: str, sha256: str, rejected: Sequence[tuple[int, str, str]]
) -> pa.Table:
    """Rows for quarantine, each with its number from 1, its raw text and the reason."""
    return pa.table(
        {
            "use_case": strings(use_case for _ in rejected),
            "file": strings(file for _ in rejected),
            "file_sha256": strings(sha256 for _ in rejected),
            "row_number": pa.array([number for number, _, _ in rejected], pa.int64()),
            "reason": strings(reason for _, _, reason in rejected),
            "raw": strings(raw for _, raw, _ in rejected),
            "edition": pa.array([EDITION] * len(rejected), pa.int32()),
        }
    )
