"""Take a use case that was made by mistake out again: its file, its inbox, its rows.

Only one that never had a night: behind a night stand a snapshot and perhaps versions, by which
`tasks.erasure.erase` finds what was learned from a person. Each step may be repeated; the file goes
last, so that after a kill the same command finishes it.
"""

from __future__ import annotations

import logging
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from flywheel.config import Home, load_use_case
from flywheel.config.base import NAME_PATTERN
from flywheel.errors import ConfigError, DataError, StoreBusy
from flywheel.home import schedules
from flywheel.ingestion import journal
from flywheel.store import Store, open_store
from flywheel.store import erasure as warehouse
from flywheel.store.compaction import rewrite_file
from flywheel.store.migrations import transaction
from tasks.coordination.locks import only_night

log = logging.getLogger(__name__)

KEPT = ("who was forgotten, with certificates", "pictures, which others may name", "vendors' bills")


@dataclass(frozen=True)
class Removal:
    """What goes: the file, rows by table, files of the inbox; and in words what is kept.

    ``schedule`` is when its nights come by themselves, None where they do not.
    """

    use_case: str
    file: str | None
    rows: dict[str, int]
    inbox: int
    schedule: str | None = None
    kept: tuple[str, ...] = KEPT


def plan(home: Home, name: str, *, folder: Path = Path("usecases")) -> Removal:
    """What `remove` would take out; changes nothing.

    Raises:
        ConfigError: neither ``folder`` nor the home knows such a use case, or another file of
            ``folder`` has the same name in it.
        DataError: it had a night.
    """
    path = _file(folder, name)
    name = _name(path, name)
    _require_alone(folder, path, name)
    inbox = home.inbox(name)
    found = [one for one in inbox.rglob("*") if one.is_file()] if inbox.is_dir() else []
    rows: dict[str, int] = {}
    if home.warehouse.exists():
        with open_store(home.warehouse, read_only=True) as store:
            _require_no_night(store, home, name, path)
            counts = {table: _count(store, table, name) for table in warehouse.HOLDING}
            rows = {table: count for table, count in counts.items() if count}
    nightly = schedules.kept(home).get(name)
    if path is None and not inbox.is_dir() and not rows and nightly is None:
        raise ConfigError(
            f"There is no use case {name} in {folder.resolve()}, and nothing of it in {home.root}. "
            "Nothing was removed; flywheel list names those that there are."
        )
    return Removal(
        name,
        None if path is None else str(path),
        rows,
        len(found),
        None if nightly is None else f"{nightly.at} {nightly.zone}",
    )


def remove(home: Home, name: str, *, folder: Path = Path("usecases")) -> Removal:
    """Take out all that `plan` names but for its schedule, which the server keeps.

    Raises:
        ConfigError, DataError: as `plan`; nothing was removed.
        StoreBusy: a night of it is running, a service writes into its inbox, or the warehouse is
            held.
    """
    known = _name(_file(folder, name), name)
    with only_night(home, known, instead="nothing was removed"):
        made = plan(home, name, folder=folder)
        _require_not_served(home, known)
        if made.rows:
            with open_store(home.warehouse) as store:
                with transaction(store.con):
                    for table in made.rows:
                        store.con.execute(f"DELETE FROM {table} WHERE use_case = ?", [known])
                rewrite_file(store)
        for folder_of_it in (home.inbox(known), home.compiled(known)):
            if folder_of_it.is_dir():
                shutil.rmtree(folder_of_it)
        if made.file is not None:
            Path(made.file).unlink()
    log.info("removed use case %s with %d rows", known, sum(made.rows.values()))
    return made


def _file(folder: Path, name: str) -> Path | None:
    if not re.fullmatch(NAME_PATTERN, name):
        raise ConfigError(
            f"{name!r} is no name of a use case: small letters, digits and hyphens only. Nothing "
            "was removed; flywheel list names those that there are."
        )
    found = (folder / f"{name}{suffix}" for suffix in (".yaml", ".yml"))
    return next((path for path in found if path.is_file()), None)


def _name(path: Path | None, name: str) -> str:
    """The name that its rows are kept by; of a file that cannot be read, that of the file."""
    if path is None:
        return name
    try:
        return load_use_case(str(path)).name
    except ConfigError:
        return name


def _require_alone(folder: Path, path: Path | None, name: str) -> None:
    """Refuse where rows and inbox are of another file, too: a copy that kept the name in it."""
    files = sorted(one for suffix in ("*.yaml", "*.yml") for one in folder.glob(suffix))
    for other in files:
        if other != path and _name(other, other.stem) == name:
            how = (
                f"flywheel remove {other.stem} takes that out"
                if path is None
                else f"{path} says the same name: inside. To be rid of {path} alone, delete the "
                "file or change the name in it"
            )
            raise ConfigError(
                f"The rows and the inbox of {name} are those of {other}; {how}. Nothing was "
                "removed.",
                path=str(other),
            )


def _count(store: Store, table: str, name: str) -> int:
    ((count,),) = store.rows(f"SELECT count(*) FROM {table} WHERE use_case = ?", [name])
    return int(count)


def _require_no_night(store: Store, home: Home, name: str, path: Path | None) -> None:
    nights, snapshots = _count(store, "nights", name), _count(store, "snapshots", name)
    if not (nights or snapshots or _count(store, "promotions", name)):
        return
    aside = (
        "Its file is gone already, so that no night runs and nothing serves it"
        if path is None
        else f"To take it out of service, stop its service and schedule and move {path} elsewhere"
    )
    raise DataError(
        f"{name} had {nights} nights and has {snapshots} snapshots: versions may have learned from "
        f"its rows, and flywheel forget finds people by them. Nothing was removed. {aside}; its "
        f"data stay in {home.root}, where forget still finds them.",
        use_case=name,
    )


def _require_not_served(home: Home, name: str) -> None:
    for path in journal.being_written(home.inbox(name)):
        raise StoreBusy(
            f"A service writes {path}; nothing was removed. Stop flywheel serve -u {name}, "
            "and run it again."
        )
