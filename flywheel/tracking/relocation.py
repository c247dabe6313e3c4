"""A home that was moved or copied: the paths in its registry lead to where it is now.

MLflow keeps the absolute path of every artifact. Left as they are, a moved home finds none of its
versions, and a copied one writes into the artifacts of the original.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.parse import quote, unquote

from flywheel.config import Home
from flywheel.errors import RegistryUnavailable, StoreBusy
from flywheel.files import locks

log = logging.getLogger(__name__)

LOCK_WAIT_S = 30.0
# what of MLflow's tables says where a file of an artifact lies
_PATHS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("trace_tags", "value"),
)
_SQLITE = "sqlite:///"
# an experiment of ours lies in a folder of its own in the artifacts of its home
_OURS = re.compile(r"(?P<root>(?:file:(?://[^/]*)?)?/.*)/mlflow-artifacts/[^/]+/?")
_SCHEME = re.compile(r"file:(?://[^/]*)?")


def local_registry(home: Home) -> Path | None:
    """The registry's database where it is the one in ``home``, and there; else None."""
    uri, ours = home.mlflow_uri, home.root / "mlflow.db"
    if not uri.startswith(_SQLITE) or not ours.is_file():
        return None
    named = Path(uri.removeprefix(_SQLITE))
    return ours if os.path.exists(named) and os.path.samefile(named, ours) else None


def is_there(home: Home) -> bool:
    """Whether there is a registry: the home's own is a file, any other answers for itself.

    Raises:
        RegistryUnavailable: it is a link to a file that is not there, as on a disk not mounted.
    """
    ours = home.root / "mlflow.db"
    if home.mlflow_uri != f"{_SQLITE}{ours}" or ours.exists():
        return True
    if ours.is_symlink():
        raise RegistryUnavailable(
            f"{ours} is a link to {ours.readlink()}, which is not there, so that nobody knows the "
            "champion. Nothing was changed. Mount the disk that it lies on, or remove the link for "
            "a new registry."
        )
    return False


def follow_move(home: Home) -> tuple[str, ...]:
    """Let the registry in ``home`` name the files of this home, if it was moved or copied here.

    All paths change in one transaction, or none; done twice is done once. Nothing is written at
    the place that it came from. Returns the roots that it named before.

    Raises:
        StoreBusy: a night is running here, under another path; or the registry is being written.
    """
    path = local_registry(home)
    if path is None:
        return ()
    try:
        with closing(_connect(path, "ro")) as con:
            if not _elsewhere(con, home):
                return ()
        with _no_night(home), closing(_connect(path, "rw")) as con:
            moved = _rewrite(con, home)
    except sqlite3.OperationalError as error:
        raise StoreBusy(
            f"{home.root} was moved or copied, and the paths in {path.name} cannot be changed to "
            f"where it is now: {error}. Nothing was changed. End what uses it (make mlflow, "
            "flywheel serve), see that the file may be written, and try again.",
            path=str(path),
        ) from error
    for root in moved:
        log.warning("the home was at %s before; its registry names %s now", root, home.root)
    return moved


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"file:{quote(str(path))}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=LOCK_WAIT_S, isolation_level=None)


def _elsewhere(con: sqlite3.Connection, home: Home) -> dict[str, str]:
    """Root as the registry writes it → path of it, for those that are not this home."""
    if "experiments" not in _tables(con):
        return {}
    named = [place for (place,) in con.execute("SELECT artifact_location FROM experiments")]
    roots = {found["root"] for place in named if (found := _OURS.fullmatch(place or ""))}
    paths = {root: _path(root) for root in roots}
    return {root: path for root, path in paths.items() if not _is_here(path, home)}


def _path(root: str) -> str:
    scheme = _SCHEME.match(root)
    return unquote(root[scheme.end() :]) if scheme else root


def _is_here(root: str, home: Home) -> bool:
    """Whether a path is this home's, or of another home that keeps no registry of its own."""
    if root == str(home.root):
        return True
    theirs = os.path.join(root, "mlflow.db")
    if os.path.exists(theirs):
        # the same file under another name: a link or a mount, whose paths are as good
        return os.path.samefile(theirs, home.root / "mlflow.db")
    return os.path.isdir(os.path.join(root, "mlflow-artifacts"))


def _rewrite(con: sqlite3.Connection, home: Home) -> tuple[str, ...]:
    con.execute("BEGIN IMMEDIATE")
    # somebody else may have done it meanwhile
    elsewhere = _elsewhere(con, home)
    there = _tables(con)
    for root in elsewhere:
        old = f"{root}/{home.mlflow_artifacts.name}/"
        new = f"{home.mlflow_artifacts.as_uri()}/"
        for table, column in _PATHS:
            if table in there:
                con.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE substr({column}, 1, ?) = ?",
                    (new, len(old) + 1, len(old), old),
                )
    con.execute("COMMIT")
    return tuple(sorted(elsewhere.values()))


def _tables(con: sqlite3.Connection) -> set[str]:
    return {name for (name,) in con.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


@contextmanager
def _no_night(home: Home) -> Iterator[None]:
    """Hold off nights of this home while paths change.

    Raises:
        StoreBusy: one is running.
    """
    with ExitStack() as held:
        for path in sorted(home.root.glob("night-*.lock")):
            busy = StoreBusy(
                f"A night is running in {home.root} under another path of it. Nothing was changed. "
                "Use one path for this home everywhere, or wait for the night's end.",
                path=str(path),
            )
            held.enter_context(locks.held(path, busy=busy))
        yield
