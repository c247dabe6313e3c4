"""Back a home up into one file, and restore it."""

from __future__ import annotations

import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from flywheel.config import Home
from flywheel.config.home import COMPILED
from flywheel.errors import ConfigError, DataError, StoreBusy
from flywheel.files import hashing
from flywheel.files.permissions import umask
from flywheel.home import archive, backups
from flywheel.home.archive import Packing
from flywheel.ingestion import journal
from flywheel.store import frozen_file
from flywheel.store.standstill import without_writers
from flywheel.tracking.relocation import local_registry
from tasks.coordination.locks import moving_champion, nights_waiting, only_night

log = logging.getLogger(__name__)

PAGE = "README.md"
"""What git keeps in ``data/``: a home that holds nothing else is empty."""
_MADE_ANEW = ("models", "downloads")
# beside the databases they belong to; what they hold is in the copy
_SIDE_FILES = ("-wal", "-shm", "-journal", ".duckdb.wal")


def back_up(
    home: Home, to: Path, *, at: datetime, bases: bool = True, force: bool = False
) -> dict[str, Any]:
    """Write everything that is in ``home`` into the file ``to``; returns what it holds.

    The service may run meanwhile, a night may not: what its parts had written would not fit
    together. Without ``bases``, models and downloads are left out, which the next night fetches.

    Raises:
        StoreBusy: a night is running, or somebody holds the warehouse.
        ConfigError: ``to`` is there already, or lies in the home.
    """
    to = to.absolute()
    if to.exists() and not force:
        raise ConfigError(f"{to} is there already; --force overwrites it. Nothing was written.")
    if to.resolve().is_relative_to(home.root):
        raise ConfigError(f"{to} lies in the home that it is to hold. Nothing was written.")
    mode = f"{stat.S_IMODE(home.root.stat().st_mode):o}"
    facts = {"made_at": at.isoformat(), "home": str(home.root), "mode": mode}
    with (
        _still(home, nights_waiting, "nothing was backed up"),
        archive.packing(to, facts=facts) as made,
    ):
        # before, so that it is in the copy, too; a file that is not there in the end is passed over
        backups.note(home, to)
        _add_files(made, home, bases=bases)
        # after the inbox: a file that is taken in meanwhile stands twice rather than nowhere
        if home.warehouse.is_file():
            with frozen_file(home.warehouse) as file:
                made.add(home.warehouse.name, file, like=home.warehouse.stat())
        for path in _databases(home):
            made.add_database(_place(path, home), path)
    log.info("backed %d files up", len(made.files))
    return {
        "file": str(to),
        "sha256": hashing.of_file(to),
        "bytes": to.stat().st_size,
        "files": len(made.files),
        "registry": local_registry(home) is not None,
        **facts,
    }


def restore(home: Home, archived: Path, *, at: datetime, force: bool = False) -> dict[str, Any]:
    """Make ``home`` what an archive holds, once all of it was checked; returns its manifest.

    What was there is not deleted: with ``force`` it is put aside, beside the home.

    Raises:
        ConfigError: the home is not empty, and ``force`` is not given.
        DataError: the archive is not whole, or was changed. The home is as it was.
        StoreBusy: a night is running in the home, the service is, or somebody holds the warehouse.
    """
    if _holds_something(home) and not force:
        raise ConfigError(
            f"{home.root} is not empty. Nothing was changed. Name an empty folder in "
            "FLYWHEEL_HOME, or put what is there aside with --force."
        )
    home.root.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{home.root.name}.restoring-", dir=home.root.parent))
    try:
        manifest = archive.unpack(archived, new)
        new.chmod(int(manifest["mode"], 8) & 0o777 & ~umask() | stat.S_IRWXU)
        page = home.root / PAGE
        if page.is_file() and not (new / PAGE).exists():
            shutil.copy2(page, new / PAGE)
        with ExitStack() as locks:
            if home.root.is_dir():
                # these locks go aside with the home: a night that waited for them would have none
                locks.enter_context(_still(home, only_night, "nothing was restored"))
                _require_no_service(home)
                if home.warehouse.is_file():
                    locks.enter_context(without_writers(home.warehouse))
            aside = _swap(home.root, new, at=at)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    log.info("restored %d files", len(manifest["files"]))
    return {
        "home": str(home.root),
        "files": len(manifest["files"]),
        "made_at": manifest["made_at"],
        "from_home": manifest["home"],
        "put_aside": aside and str(aside),
    }


def check(archived: Path) -> dict[str, Any]:
    """Read an archive to its end, compare every sha256, and write nothing.

    Raises:
        DataError: it is not whole, or was changed.
    """
    manifest = archive.unpack(archived, None)
    return {
        "file": str(archived),
        "files": len(manifest["files"]),
        "made_at": manifest["made_at"],
        "from_home": manifest["home"],
    }


def _holds_something(home: Home) -> bool:
    return home.root.is_dir() and any(path.name != PAGE for path in home.root.iterdir())


def _require_no_service(home: Home) -> None:
    """Refuse to go on while a service takes feedback in.

    Raises:
        StoreBusy: it does.
    """
    for inbox in sorted((home.root / "inbox").glob("*")):
        if found := journal.being_written(inbox):
            raise StoreBusy(
                f"A service is running in {home.root} (it writes to inbox/{inbox.name}/"
                f"{found[0].name}); nothing was restored. Stop it, and run this again.",
                path=str(found[0]),
            )


def _swap(root: Path, new: Path, *, at: datetime) -> Path | None:
    """Put the new folder in the place of the old one; returns where that is now."""
    aside = None
    if root.is_dir():
        aside = root.with_name(f"{root.name}.before-{at:%Y%m%dT%H%M%SZ}")
        try:
            root.rename(aside)
        except OSError as error:
            raise DataError(
                f"{root} cannot be put aside ({error.strerror}); is something mounted there? "
                "Nothing was changed. Restore into another folder (FLYWHEEL_HOME), and move it.",
                path=str(root),
            ) from error
    try:
        new.rename(root)
    except OSError as error:
        raise DataError(
            f"Somebody wrote to {root} while it was being restored ({error.strerror}); what was "
            f"there before is in {aside or root}. Nothing was restored: stop whatever writes there "
            "(service, server, worker), and run it again with --force.",
            path=str(root),
        ) from error
    if aside is not None and not any(path.name != PAGE for path in aside.iterdir()):
        shutil.rmtree(aside)
        return None
    return aside


# ---- What is in a home


def _still(home: Home, off: Callable[..., AbstractContextManager[None]], instead: str) -> ExitStack:
    """Hold nights ``off``, and changes of champions, of every use case that the home knows.

    ``instead`` says what was not done where a night is running.
    """
    names = {path.name for path in (home.root / "inbox").glob("*") if path.is_dir()}
    names |= {path.stem.removeprefix("night-") for path in home.root.glob("night-*.lock")}
    held = ExitStack()
    try:
        for name in sorted(names):
            held.enter_context(off(home, name, instead=instead))
            held.enter_context(moving_champion(home, name))
    except BaseException:
        held.close()
        raise
    return held


def _add_files(made: Packing, home: Home, *, bases: bool) -> None:
    """Add every file but databases; what is renamed meanwhile is added under its new name."""
    # until all that is listed was added: a file may have moved on from where it was listed
    while _add_listed(made, home, bases=bases):
        pass


def _add_listed(made: Packing, home: Home, *, bases: bool) -> bool:
    """Add what is there and was not yet; whether anything was."""
    before = len(made.files)
    for path in _files(home, bases=bases):
        place = _place(path, home)
        if place in made.files:
            continue
        with suppress(FileNotFoundError):
            if archive.is_sqlite(path):
                continue
            with path.open("rb") as file:
                made.add(place, file, like=os.fstat(file.fileno()))
    return len(made.files) > before


def _files(home: Home, *, bases: bool) -> Iterator[Path]:
    left_out = set() if bases else {home.root / name for name in _MADE_ANEW}
    left_out |= {home.prefect / "ui", home.root / COMPILED}
    seen = set[str]()
    for folder, below, names in os.walk(home.root, followlinks=True):
        here = Path(folder)
        if (real := os.path.realpath(here)) in seen:
            # a link that leads back
            below.clear()
            continue
        seen.add(real)
        below[:] = sorted(name for name in below if here / name not in left_out)
        for name in sorted(names):
            path = here / name
            lock = here == home.root and path.suffix == ".lock"
            if lock or path == home.warehouse or name.endswith(_SIDE_FILES) or not path.is_file():
                continue
            yield path


def _databases(home: Home) -> list[Path]:
    return [path for path in _files(home, bases=False) if archive.is_sqlite(path)]


def _place(path: Path, home: Home) -> str:
    return path.relative_to(home.root).as_posix()
