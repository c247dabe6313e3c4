"""What was set apart, and its way back: rows are judged again where what they broke has changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from flywheel.ingestion.feedback import unknown_label
from flywheel.ingestion.readers.chunk import Row
from flywheel.store.feedback.ingest import refuse_forgotten, settle
from flywheel.store.feedback.judged import Rules, take_judged
from flywheel.store.migrations import transaction
from flywheel.store.warehouse import Store

_ROWS = """
SELECT file, file_sha256, row_number, reason, raw
FROM quarantine
WHERE use_case = $use_case AND raw <> '' AND starts_with(reason, $beginning)
ORDER BY file, file_sha256, row_number
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
    """Those that were refused for a label, when the use case had others than ``labels``."""
    found = []
    for kind in ("correct", "label"):
        refused = rows(store, use_case, beginning=unknown_label(kind, ()))
        found += [row for row in refused if row.reason != unknown_label(kind, labels)]
    return sorted(found, key=lambda row: (row.file, row.sha256, row.number))


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
