"""Remove files of a home that nothing needs any more, by a stated rule.

Older than ``keep_days`` and therefore gone:

- files in ``done/`` of which every row is in the warehouse, and none in quarantine;
- snapshots that no version needs, no trial that has not ended and no night of these days;
- trainings in ``adapters/`` that no such trial needs: a registered version has its own copy;
- pages of nights that made no version which is still needed.

A version is needed unless it was rejected, or left undecided, by a night older than that, has no
alias, was never champion, awaits no approval and is in no trial. So are its ancestors' snapshots.
Certificates, the warehouse, MLflow's registry and what waits in an inbox are never touched.

A folder is renamed before it is deleted, so that a kill leaves no half of it under its name; the
next run finishes what a killed one left.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flywheel.config import Home, load_use_case
from flywheel.config.base import NAME_PATTERN
from flywheel.errors import ConfigError, DataError, VersionGone
from flywheel.reports import night_index
from flywheel.store import Store, erasure, open_store, retention
from flywheel.store.nights import night_runs
from flywheel.store.nights.promotions import promotions
from flywheel.store.retention import OpenTrials
from flywheel.tracking.registry import Registry
from flywheel.tracking.version_tags import WAITING
from flywheel.tracking.versions import Listed
from flywheel.training import adapter_folder
from tasks.coordination.locks import nights_waiting
from tasks.erasure.locations import scope
from tasks.report import link_pages

log = logging.getLogger(__name__)

LEAVING = ".pruned-"
"""How a folder is called while it is deleted."""
_DEAD = frozenset({"reject", "undecided"})
KINDS = ("done", "snapshot", "adapter", "report", "leftover")


@dataclass(frozen=True)
class Prunable:
    """A file or folder that nothing needs."""

    kind: str
    path: Path
    bytes: int


@dataclass(frozen=True)
class _Needed:
    """What one use case needs: snapshots and adapters by name, and its nights' pages by name."""

    snapshots: frozenset[str]
    adapters: frozenset[str]
    pages: frozenset[str]


def plan(home: Home, *, at: datetime, keep_days: int) -> list[Prunable]:
    """What `prune` would remove; changes nothing.

    Raises:
        RegistryUnavailable: MLflow does not say which versions there are.
        DataError: a version's files are gone or damaged, so that nobody knows what it needs.
    """
    before = at - timedelta(days=keep_days)
    found = list(_leftovers(home))
    if not home.warehouse.exists():
        return found
    names = _use_cases(home)
    needed = [_needed(home, name, before) for name in names]
    for name, one in zip(names, needed, strict=True):
        with open_store(home.warehouse, read_only=True) as store:
            taken = retention.taken_in(store, name, before=before)
        done = home.inbox(name) / "done"
        found += _sized("done", (done / file for file in sorted(taken)))
        pages = sorted(home.reports(name).glob("*.html"))
        found += _sized("report", (page for page in pages if page.name in one.pages))
    for kind, folder in (("snapshot", home.snapshots), ("adapter", home.adapters)):
        kept = {name for one in needed for name in getattr(one, f"{kind}s")}
        old = (path for path in _folders(folder) if path.name not in kept)
        found += _sized(kind, (path for path in old if _made(path) < before))
    return found


def prune(home: Home, *, at: datetime, keep_days: int) -> list[Prunable]:
    """Remove what `plan` names, while no night runs; what was removed.

    Raises:
        StoreBusy: a night is running; nothing was removed.
        RegistryUnavailable, DataError: as `plan`; nothing was removed.
    """
    with ExitStack() as locks:
        for name in _use_cases(home):
            locks.enter_context(nights_waiting(home, name, instead="nothing was pruned"))
        found = plan(home, at=at, keep_days=keep_days)
        for one in found:
            _remove(one.path)
        for name in {one.path.parent.name for one in found if one.kind == "report"}:
            _link_pages(home, name)
    log.info("pruned %d of the home's files and folders", len(found))
    return found


def facts(found: Iterable[Prunable], home: Home, *, keep_days: int, done: bool) -> dict[str, Any]:
    """What is said of them as JSON."""
    found = list(found)
    by_kind = {
        kind: {
            "count": sum(one.kind == kind for one in found),
            "bytes": sum(one.bytes for one in found if one.kind == kind),
        }
        for kind in KINDS
    }
    return {
        "done": done,
        "keep_days": keep_days,
        "bytes": sum(one.bytes for one in found),
        "kinds": by_kind,
        "paths": [
            {"kind": o.kind, "path": str(o.path.relative_to(home.root)), "bytes": o.bytes}
            for o in found
        ],
    }


def _link_pages(home: Home, name: str) -> None:
    try:
        use_case = load_use_case(name)
    except ConfigError as error:
        log.warning("the index of nights of %s was not written anew: %s", name, error)
        return
    with open_store(home.warehouse, read_only=True) as store:
        nights = night_runs.nights(store, name)
    link_pages(use_case, home, nights[-1].as_of)


# ---- What is needed


def _use_cases(home: Home) -> list[str]:
    """All that the inbox, the warehouse or the registry knows; models of others have no needs."""
    names = {*scope(home, None), *(n for n in Registry(home).names() if re.match(NAME_PATTERN, n))}
    if home.warehouse.exists():
        with open_store(home.warehouse, read_only=True) as store:
            names |= retention.use_cases(store)
    return sorted(names)


def _needed(home: Home, use_case: str, before: datetime) -> _Needed:
    with open_store(home.warehouse, read_only=True) as store:
        trials = retention.open_trials(store, use_case)
        young = retention.young_snapshots(store, use_case, before=before)
        rewritten = erasure.rewrites(store, use_case)
        nights = night_runs.nights(store, use_case)
        champions = _champions(store, use_case)
    made = {str(n.facts["version"]): n.as_of for n in nights if n.facts.get("version")}
    registry = Registry(home)
    alive = [
        one
        for one in registry.versions(use_case)
        if not _is_dead(one, made, trials, champions, before)
    ]
    learned = {name for one in alive for name in _snapshots_of(registry, use_case, one)}
    wanted = {_now_called(name, rewritten) for name in (*learned, *trials.snapshots, *young)}
    numbers = {one.version for one in alive}
    gone = (
        night_index.page_name(night.as_of)
        for night in nights
        if night.as_of < before and str(night.facts.get("version")) not in numbers
    )
    return _Needed(
        # under its name of before, too: a forgetting that was killed may not have moved on
        snapshots=frozenset({*wanted, *learned, *trials.snapshots, *young}),
        adapters=trials.adapters,
        pages=frozenset(gone),
    )


def _champions(store: Store, use_case: str) -> set[str]:
    moves = promotions(store, use_case)
    return {name for move in moves for name in (move.version, move.before) if name is not None}


def _is_dead(
    one: Listed,
    made: Mapping[str, datetime],
    trials: OpenTrials,
    champions: set[str],
    before: datetime,
) -> bool:
    """Whether nobody can want a version any more; one that no night is known to have made lives."""
    return (
        one.record.verdict in _DEAD
        and not one.aliases
        and WAITING not in one.tags
        and one.version not in champions
        and one.record.digest not in trials.digests
        and made.get(one.version, before) < before
    )


def _snapshots_of(registry: Registry, use_case: str, one: Listed) -> set[str]:
    """What a version and its ancestors learned from; nothing of one that no night registered."""
    if not one.record.is_by_night:
        return set()
    try:
        folder = registry.by_version(use_case, one.version).adapter_dir
        trained = (
            adapter_folder.read_trained(folder)
            if (folder / adapter_folder.COMPLETE).is_file()
            else None
        )
    except VersionGone as gone:
        raise DataError(
            f"Nobody knows what {use_case} version {one.version} needs: {gone} Nothing was pruned. "
            "Delete that version in MLflow, or put its files back from a backup."
        ) from gone
    return {one.record.snapshot_id, *(trained.ancestors if trained else ())}


def _now_called(name: str, rewritten: Mapping[str, str | None]) -> str:
    """What a snapshot is called since people were taken out of it."""
    seen = {name}
    while (later := rewritten.get(name)) is not None and later not in seen:
        name = later
        seen.add(name)
    return name


# ---- Files


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _leftovers(home: Home) -> Iterator[Prunable]:
    for root in (home.snapshots, home.adapters):
        yield from _sized("leftover", sorted(root.glob(f"{LEAVING}*")))


def _made(path: Path) -> datetime:
    """When the newest of a folder's files was written."""
    times = [one.stat().st_mtime for one in (path, *path.rglob("*"))]
    return datetime.fromtimestamp(max(times), UTC)


def _sized(kind: str, paths: Iterable[Path]) -> Iterator[Prunable]:
    for path in paths:
        if path.exists():
            files = [one for one in (path, *path.rglob("*")) if one.is_file()]
            yield Prunable(kind, path, sum(one.stat().st_size for one in files))


def _remove(path: Path) -> None:
    if not path.is_dir():
        path.unlink()
        return
    leaving = path
    if not path.name.startswith(LEAVING):
        leaving = path.with_name(f"{LEAVING}{path.name}")
        path.rename(leaving)
    shutil.rmtree(leaving)
