"""What was set apart, and its way back: rows are judged again where what they broke has changed.

That is a label that the use case has now, or a contract that takes more than the one by which they
were refused (`contract.EDITION`). A row whose ``feedback_id`` was taken in from another file leaves
quarantine, too, as one that is known.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from flywheel.ingestion.contract import EDITION
from flywheel.ingestion.feedback import unknown_label
from flywheel.ingestion.predictions import SUFFIX as ANSWERS
from flywheel.ingestion.predictions import read as read_answers
from flywheel.ingestion.readers.chunk import Row
from flywheel.store.arrow_columns import incoming
from flywheel.store.feedback.ingest import refuse_forgotten, settle
from flywheel.store.feedback.judged import QUARANTINE, Rules, rejected_table, take_judged
from flywheel.store.feedback.predictions import answers_kept, insert_answers
from flywheel.store.migrations import transaction
from flywheel.store.warehouse import Store

_ROWS = """
SELECT file, file_sha256, row_number, reason, raw
FROM quarantine
WHERE use_case = $use_case AND raw <> '' AND starts_with(reason, $beginning)
ORDER BY file, file_sha256, row_number
"""
_EARLIER = """
SELECT file, file_sha256, row_number, reason, raw
FROM quarantine
WHERE use_case = $use_case AND raw <> '' AND edition IS DISTINCT FROM $edition
"""
_MARK = """
UPDATE quarantine SET edition = $edition
WHERE
    use_case = $use_case
    AND file_sha256 = $sha256
    AND row_number IN (SELECT unnest($rows::BIGINT[]))
"""
_TAKEN_SINCE = """
WITH apart AS (
    SELECT file_sha256, row_number, raw ->> '$.feedback_id' AS feedback_id
    FROM quarantine
    WHERE use_case = $use_case AND NOT ends_with(file, $answers)
        AND CASE WHEN json_valid(raw) THEN json_type(raw, '$.feedback_id') END = 'VARCHAR'
)
SELECT a.file_sha256, list(DISTINCT a.row_number)
FROM apart AS a
JOIN feedback AS f
    ON f.feedback_key = md5_number_lower(a.feedback_id) AND f.feedback_id = a.feedback_id
WHERE f.use_case = $use_case
GROUP BY a.file_sha256
"""
_REMOVE = """
DELETE FROM quarantine
WHERE
    use_case = $use_case
    AND file_sha256 = $sha256
    AND row_number IN (SELECT unnest($rows::BIGINT[]))
"""
_NEW_AND_PARKED = """
SELECT count(*), count(*) - count(seq), coalesce(max(seq), 0)
FROM feedback
WHERE use_case = $use_case AND ($sha256 IS NULL OR file_sha256 = $sha256)
"""
_COUNT_ANEW = """
UPDATE ingested_files
SET
    ingested = ingested + $ingested,
    duplicate = duplicate + $duplicate,
    parked = parked + $parked,
    quarantined = quarantined - $back
WHERE use_case = $use_case AND file_sha256 = $sha256
"""


@dataclass(frozen=True, slots=True)
class SetApart:
    """A row in quarantine. ``raw`` is what stood in the file."""

    file: str
    sha256: str
    number: int
    reason: str
    raw: str = field(repr=False)


@dataclass(frozen=True)
class Retried:
    """Rows judged again, and what became of them; ``kept`` ones are refused still."""

    ingested: int = 0
    parked: int = 0
    duplicate: int = 0
    kept: int = 0

    def __add__(self, other: Retried) -> Retried:
        return Retried(
            self.ingested + other.ingested,
            self.parked + other.parked,
            self.duplicate + other.duplicate,
            self.kept + other.kept,
        )


def rows(store: Store, use_case: str, *, beginning: str = "") -> list[SetApart]:
    """The rows in quarantine whose reason has this beginning, but for those of the forgotten."""
    asked = {"use_case": use_case, "beginning": beginning}
    return [SetApart(*row) for row in store.rows(_ROWS, asked)]


def outdated(store: Store, use_case: str, labels: Sequence[str]) -> list[SetApart]:
    """Those refused for a label when the use case had others, or by an earlier contract."""
    earlier = store.rows(_EARLIER, {"use_case": use_case, "edition": EDITION})
    found = {(row[1], row[2]): SetApart(*row) for row in earlier}
    for kind in ("correct", "label"):
        refused = rows(store, use_case, beginning=unknown_label(kind, ()))
        found |= {
            (row.sha256, row.number): row
            for row in refused
            if row.reason != unknown_label(kind, labels)
        }
    return sorted(found.values(), key=lambda row: (row.file, row.sha256, row.number))


def mark(store: Store, use_case: str, sha256: str, numbers: Sequence[int]) -> None:
    """Leave rows of a file that cannot be judged again to the next contract."""
    asked = {"use_case": use_case, "sha256": sha256, "rows": numbers, "edition": EDITION}
    with transaction(store.con):
        store.con.execute(_MARK, asked)


def let_go_of_known(store: Store, use_case: str) -> int:
    """Take out what was taken in since, under the same id, from elsewhere; the number of rows."""
    asked = {"use_case": use_case, "answers": ANSWERS}
    found = store.rows(_TAKEN_SINCE, asked)
    with transaction(store.con):
        for sha256, numbers in found:
            here = {"use_case": use_case, "sha256": sha256}
            store.con.execute(_REMOVE, here | {"rows": numbers})
            counts = {"ingested": 0, "duplicate": len(numbers), "parked": 0}
            store.con.execute(_COUNT_ANEW, here | counts | {"back": len(numbers)})
    return sum(len(numbers) for _, numbers in found)


def retry_answers(
    store: Store, use_case: str, *, file: str, sha256: str, again: Sequence[SetApart]
) -> Retried:
    """Judge served answers again; feedback that waits for one that comes in becomes usable."""
    here = {"use_case": use_case, "sha256": sha256}
    gone = store.forgotten(use_case)
    found = read_answers(io.BytesIO("\n".join(row.raw for row in again).encode()))
    rejected = [(again[n - 1].number, raw, reason) for n, raw, reason in found.rejected]
    refused = sum(gone.answer(one) for one in found.predictions)
    with transaction(store.con):
        before = answers_kept(store, use_case)
        store.con.execute(_REMOVE, here | {"rows": [row.number for row in again]})
        insert_answers(store, use_case, found)
        with incoming(store.con, rejected_table(use_case, file, sha256, rejected)):
            store.con.execute(QUARANTINE)
        back = len(again) - len(rejected) - refused
        new = answers_kept(store, use_case) - before
        done = Retried(ingested=new, duplicate=back - new, kept=len(again) - back)
        counts = {"ingested": done.ingested, "duplicate": done.duplicate, "parked": 0}
        store.con.execute(_COUNT_ANEW, here | counts | {"back": back})
    return done


def retry(
    store: Store,
    use_case: str,
    *,
    file: str,
    sha256: str,
    again: Sequence[tuple[int, Row]],
    labels: tuple[str, ...],
    by_customer: bool,
    at: datetime,
) -> Retried:
    """Judge rows of one file again: all of them or, where it fails, none.

    Those that are still refused stay set apart, for the reason that there is now.
    """
    here = {"use_case": use_case, "sha256": sha256}
    gone = store.forgotten(use_case)
    with transaction(store.con):
        ((_, _, base),) = store.rows(_NEW_AND_PARKED, {"use_case": use_case, "sha256": None})
        ((before, waited, _),) = store.rows(_NEW_AND_PARKED, here)
        store.con.execute(_REMOVE, here | {"rows": [number for number, _ in again]})
        asked = here | {"at": at, "base": base}
        rules = Rules(labels, by_customer)
        kept = take_judged(store.con, again, rules, asked, file, gone)
        if gone:
            kept += refuse_forgotten(store.con, use_case, sha256, file, gone)
        after, parked = settle(store.con, here, history=True)
        back = len(again) - kept
        done = Retried(
            ingested=after - before - (parked - waited),
            parked=parked - waited,
            duplicate=back - (after - before),
            kept=kept,
        )
        counts = {"ingested": done.ingested, "duplicate": done.duplicate, "parked": done.parked}
        store.con.execute(_COUNT_ANEW, here | counts | {"back": back})
    return done
