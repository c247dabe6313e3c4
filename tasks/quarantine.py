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
from flywheel.ingestion.readers import chunks
from flywheel.ingestion.readers.chunk import Row, rows_of
from flywheel.store import open_store
from flywheel.store.feedback import quarantine
from flywheel.store.feedback.quarantine import Retried, SetApart

log = logging.getLogger(__name__)


def retry(use_case: UseCase, home: Home, *, at: datetime, everything: bool = False) -> Retried:
    """Judge again what was refused for a label, where the labels are others now; or everything.

    Pictures are left: the ones of refused rows were not kept.
    """
    if use_case.is_image or not home.warehouse.exists():
        return Retried()
    with open_store(home.warehouse) as store:
        if everything:
            found = quarantine.rows(store, use_case.name)
        else:
            found = quarantine.outdated(store, use_case.name, use_case.label_names)
    total = Retried()
    for (file, sha256), of_file in groupby(found, key=lambda row: (row.file, row.sha256)):
        again = _read(list(of_file), home.inbox(use_case.name) / "done")
        if again:
            total += _retry(use_case, home, file, sha256, again, at)
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

    A row of a CSV file that is gone has no names of columns, and stays where it is.
    """
    numbers = {row.number for row in found}
    path = done / f"{found[0].sha256[:8]}-{found[0].file}"
    if path.is_file():
        with path.open("rb") as stream:
            every = (row for chunk in chunks(path.name, stream) for row in rows_of(chunk))
            return [(n, row) for n, row in enumerate(every, start=1) if n in numbers]
    return [(row.number, (row.raw, fields)) for row in found if (fields := _fields(row.raw))]


def _fields(raw: str) -> dict[str, object] | DataError | None:
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
