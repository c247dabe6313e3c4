"""Answer a whole file, part by part: killed anywhere, the next run asks only what is left."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from prefect import task

from flywheel.config import Home, UseCase
from flywheel.dataset.images import Images
from flywheel.errors import DataError, StoreBusy
from flywheel.files import hashing, locks, private_files
from flywheel.serving.batch_files import (
    FORMATS,
    join_parts,
    read_rows,
    with_addresses,
    write_answers,
)
from tasks import retry_if_transient
from tasks.outputs.predict import load_champion

log = logging.getLogger(__name__)

ROWS_PER_PART = 1_000
_PLAN = "plan.json"


@task(retries=2, retry_delay_seconds=30, retry_condition_fn=retry_if_transient)
def predict_file(
    use_case: UseCase,
    home: Home,
    source: Path,
    to: Path,
    *,
    at: datetime,
    rows_per_part: int = ROWS_PER_PART,
) -> dict[str, Any]:
    """Answer the texts of ``source`` with the champion into ``to``, in order; stored as well.

    Both are Parquet or JSON Lines, by their suffix. Parts lie beside ``to``, in a folder whose name
    begins with a dot, until all are there. All answers are of one version: if the champion or the
    file has changed since a run that was killed, it begins anew.

    Raises:
        DataError: ``source`` cannot be used, or ``to`` is there already or of another format;
            nothing was answered.
        StoreBusy: another process writes to ``to``, or has the warehouse.
        NotEnoughData, DigestMismatch: as `tasks.outputs.predict.load_champion`.
    """
    if to.suffix not in FORMATS:
        raise DataError(f"{to} must end in {' or '.join(FORMATS)}. Nothing was answered.")
    if to.exists():
        raise DataError(f"{to} is there already. Remove it, or name another; nothing was answered.")
    rows = read_rows(source, by_customer=use_case.split.by_customer)
    if not rows:
        raise DataError(f"{source} holds no texts. Nothing was answered.")
    if use_case.is_image:
        rows = with_addresses(rows, Images(home.images), source.parent)
    champion = load_champion(use_case, home)
    plan = {
        "use_case": use_case.name,
        "source_sha256": hashing.of_file(source),
        "digest": champion.digest,
        "rows_per_part": rows_per_part,
    }
    with _parts(to, plan, at) as (folder, begun_at):
        parts, asked = [], 0
        for first in range(0, len(rows), rows_per_part):
            part = folder / f"{first:09}{to.suffix}"
            parts.append(part)
            if part.is_file():
                continue
            some = rows[first : first + rows_per_part]
            new = folder / f"new{to.suffix}"
            with private_files.replacing(part, partial=new):
                write_answers(new, champion.answer(some, at=begun_at, first=first))
            asked += len(some)
        with private_files.replacing(to, partial=folder / f"whole{to.suffix}") as whole:
            join_parts(parts, whole)
    log.info("%d answers are in the file, %d of them asked now", len(rows), asked)
    return {"rows": len(rows), "asked": asked, "version": champion.version, "to": str(to)}


@contextmanager
def _parts(to: Path, plan: dict[str, Any], at: datetime) -> Iterator[tuple[Path, datetime]]:
    """The folder of parts, for one process at a time, and when the run that it is of began."""
    folder = to.with_name(f".{to.name}.parts")
    folder.mkdir(parents=True, exist_ok=True)
    busy = StoreBusy(f"Another process writes {to}; this one did nothing.")
    with locks.held_folder(folder, busy=busy):
        told = _told(folder / _PLAN)
        if {**told, "at": None} != {**plan, "at": None}:
            for left in folder.iterdir():
                left.unlink()
            told = {**plan, "at": at.isoformat()}
            private_files.replace(folder / _PLAN, json.dumps(told).encode())
        yield folder, datetime.fromisoformat(told["at"])
        shutil.rmtree(folder)


def _told(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found
