"""What a night would do, found out on a copy: nothing is written into the home.

Sources are read as the night would read them, and the inbox is taken in and curated, all in a
temporary home that is deleted. What is trained and asked is said, and not done.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from flywheel.catalog.base_models import MANIFEST
from flywheel.config import Home, UseCase
from flywheel.errors import FlywheelError, UnusualFeedback
from flywheel.store import open_store
from flywheel.store.nights.promotions import promotions
from tasks.curate import curate_snapshot, reason_to_skip
from tasks.ingest import ingest_inbox
from tasks.pull import pull


def dry_run(use_case: UseCase, home: Home, *, at: datetime) -> dict[str, Any]:
    """Find out what a night at ``at`` would pull, curate, train and ask.

    Raises:
        FlywheelError: the night would fail in the same way, but for sources that cannot be read
            and feedback that it would refuse, which are told.
    """
    with _copy(use_case, home) as copied:
        pulled, unread = _pulled(use_case, copied, at)
        ingested = ingest_inbox(use_case, copied, at=at)
        told = {
            "use_case": use_case.name,
            "as_of": at.isoformat(),
            "pulled": pulled,
            "unread": unread,
            "ingested": asdict(ingested),
            "champion": _champion(use_case, copied),
        }
        try:
            snapshot = curate_snapshot.fn(use_case, copied, at=at)
        except UnusualFeedback as refused:
            return {**told, "curated": None, "trains": [], "asks": None, "why_not": str(refused)}
        skipped = reason_to_skip(use_case, copied, snapshot)
        with open_store(copied.warehouse) as store:
            steps = [asdict(one) for one in store.steps(use_case.name, snapshot.snapshot_id)]
    sizes = {side: getattr(snapshot, side) for side in ("train", "validation", "holdout")}
    return {
        **told,
        "curated": {**sizes, "steps": steps},
        "trains": [] if skipped else _trainings(use_case, home),
        "asks": None if skipped else {"holdout_rows": snapshot.holdout},
        "why_not": f"{skipped.rule}: {skipped.detail}" if skipped else None,
    }


def render_text(found: dict[str, Any]) -> list[str]:
    """A dry run for people."""
    pulled = ", ".join(f"{rows} new rows from {name}" for name, rows in found["pulled"].items())
    counts = ", ".join(f"{rows} {what}" for what, rows in found["ingested"].items())
    curated, name = found["curated"], found["use_case"]
    shown = [f"{name}, dry run for {found['as_of'][:16]}: nothing was written"]
    shown += [f"  would pull: {pulled or 'nothing (no sources)'}"] if not found["unread"] else []
    shown += [f"  cannot pull: {found['unread']}"] if found["unread"] else []
    shown.append(f"  would ingest: {counts} rows")
    if curated:
        sides = ", ".join(f"{curated[side]} {side}" for side in ("train", "validation", "holdout"))
        shown.append(f"  would curate: {sides} examples")
        shown += [f"    {one['rule']}: {one['dropped']} dropped" for one in _dropped(curated)]
    if found["why_not"]:
        return [*shown, f"  would train nothing: {found['why_not']}"]
    for one in found["trains"]:
        base = f" on {one['base']}" if one["base"] else ""
        fetch = "" if one["base_is_here"] else ", which it would fetch first"
        shown.append(f"  would train: {one['method']}{base}{fetch}")
    rival = f"version {found['champion']}, " if found["champion"] else ""
    asked = f"the challenger, {rival}and the baselines"
    shown.append(f"  would ask: {asked} on {found['asks']['holdout_rows']} holdout rows")
    return [*shown, f"  next: flywheel night -u {name}"]


def _dropped(curated: dict[str, Any]) -> Sequence[dict[str, Any]]:
    return [one for one in curated["steps"] if one["dropped"]]


@contextmanager
def _copy(use_case: UseCase, home: Home) -> Iterator[Home]:
    """A temporary home with what ingestion and curation read; pictures are copied, too.

    A night that writes meanwhile may leave the copy torn, which is then refused as damaged.
    """
    with tempfile.TemporaryDirectory(prefix="flywheel-dry-run-") as folder:
        copied = Home(Path(folder))
        for part in (home.inbox(use_case.name), home.snapshots, home.images):
            if part.is_dir():
                shutil.copytree(part, copied.root / part.relative_to(home.root))
        for file in (home.warehouse, home.warehouse.with_name(f"{home.warehouse.name}.wal")):
            if file.is_file():
                shutil.copy2(file, copied.root / file.name)
        yield copied


def _pulled(use_case: UseCase, home: Home, at: datetime) -> tuple[dict[str, int], str | None]:
    try:
        return pull.fn(use_case, home, at=at), None
    except FlywheelError as error:
        return {}, str(error)


def _champion(use_case: UseCase, home: Home) -> str | None:
    """As the home's own record says; MLflow is not asked."""
    with open_store(home.warehouse) as store:
        moves = promotions(store, use_case.name)
    return moves[-1].version if moves else None


def _trainings(use_case: UseCase, home: Home) -> list[dict[str, Any]]:
    return [
        {
            "method": one.method,
            "base": one.base,
            "base_is_here": one.base is None or (home.models / one.base / MANIFEST).is_file(),
        }
        for one in use_case.training.entries()
    ]
