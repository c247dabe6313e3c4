"""Bring rows back from quarantine: when what they broke has changed, and when a person asks."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path

from flywheel.config import Home, UseCase
from flywheel.errors import DataError
from flywheel.ingestion.predictions import SUFFIX as ANSWERS
from flywheel.ingestion.readers import chunks
from flywheel.ingestion.readers.chunk import Row, rows_of
from flywheel.store import open_store
from flywheel.store.feedback import quarantine
from flywheel.store.feedback.quarantine import Retried, SetApart

log = logging.getLogger(__name__)


def retry(use_case: UseCase, home: Home, *, at: datetime, everything: bool = False) -> Retried:
    """Judge again what was refused for what has changed since; or everything.

    Also lets go of rows that were taken in since from elsewhere. Pictures are left: the ones of
    refused rows were not kept.
    """
    if use_case.is_image or not home.warehouse.exists():
        return Retried()
    name = use_case.name
    with open_store(home.warehouse) as store:
        total = Retried(duplicate=quarantine.let_go_of_known(store, name))
        if everything:
            found = quarantine.rows(store, name)
        else:
            found = quarantine.outdated(store, name, use_case.label_names)
    for (file, sha256), group in groupby(found, key=lambda row: (row.file, row.sha256)):
        of_file = list(group)
        if file.endswith(ANSWERS):
            with open_store(home.warehouse) as store:
                total += quarantine.retry_answers(
                    store, name, file=file, sha256=sha256, again=of_file
                )
            continue
        again = _read(of_file, home.inbox(name) / "done")
        if again:
            total += _retry(use_case, home, file, sha256, again, at)
        if left := [row.number for row in of_file if row.number not in dict(again)]:
            with open_store(home.warehouse) as store:
                quarantine.mark(store, name, sha256, left)
    if total != Retried():
        log.info(
            "judged rows in quarantine of %s again: %d came in, %d are parked, %d were known, "
            "%d stay",
            use_case.name,
            total.ingested,
            total.parked,
            total.duplicate,
            total.kept,
        )
    return total


def _retry(
    use_case: UseCase,
    home: Home,
    file: str,
    sha256: str,
    again: Sequence[tuple[int, Row]],
    at: datetime,
) -> Retried:
    with open_store(home.warehouse) as store:
        return quarantine.retry(
            store,
            use_case.name,
            file=file,
            sha256=sha256,
            again=again,
            labels=use_case.label_names,
            by_customer=use_case.split.by_customer,
            at=at,
        )


def _read(found: Sequence[SetApart], done: Path) -> list[tuple[int, Row]]:
    """The rows as a reader gives them: as their file has them, else as quarantine has them.

    They are found by what stands there, not by number: a file has fewer rows once somebody in it
    was forgotten. A row of a CSV file that is gone has no names of columns, and stays where it is.
    """
    by_raw: dict[str, Row] = {}
    path = done / f"{found[0].sha256[:8]}-{found[0].file}"
    if path.is_file():
        wanted = {row.raw for row in found}
        with path.open("rb") as stream:
            for chunk in chunks(path.name, stream):
                by_raw |= {row[0]: row for row in rows_of(chunk) if row[0] in wanted}
    rows = [(row.number, by_raw.get(row.raw) or (row.raw, _fields(row.raw))) for row in found]
    return [(number, (raw, fields)) for number, (raw, fields) in rows if fields is not None]


def _fields(raw: str) -> dict[str, object] | DataError | None:
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
