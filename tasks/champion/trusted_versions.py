"""Keep what was measured in the warehouse, and refuse every version that is not in it.

MLflow's tags and files are whatever somebody wrote there; who may serve is decided here.
"""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path

from flywheel.config import Home
from flywheel.errors import DigestMismatch, StoreBusy
from flywheel.store import open_store
from flywheel.store.nights import measured_versions as table
from flywheel.tracking import measured_versions as measured
from flywheel.tracking import model_files
from flywheel.tracking.measured_versions import MeasuredVersion
from flywheel.tracking.registry import Registry
from flywheel.tracking.version_tags import FOLDER
from flywheel.tracking.versions import Version

log = logging.getLogger(__name__)


def remember(home: Home, version: Version, *, verdict: str | None, at: datetime) -> None:
    """Keep a version that this night measured, with the files that it was registered with.

    Doing it again keeps the newer verdict and the first files.

    Raises:
        DigestMismatch: its files are not those that were registered a moment ago.
    """
    tagged = Registry(home).folder_sha256(version)
    files = None
    if tagged is not None:
        files = model_files.hashes(version.folder)
        if model_files.folder_sha256(files) != tagged:
            raise DigestMismatch(
                f"{version.name} version {version.version} has other files than when it was "
                f"registered (tag {FOLDER}), in {version.folder}. It may not be champion; the next "
                "night trains and registers another."
            )
    _keep(home, version, MeasuredVersion(version.digest, version.version, verdict, files), at=at)


def confirm(home: Home, version: Version, *, at: datetime) -> None:
    """Keep the files of a version from before files were hashed; the caller has verified it."""
    found = measured.find(known(home, version.name), version.version, version.digest)
    if found is None or found.files is not None:
        return
    files = model_files.hashes(version.folder)
    one = MeasuredVersion(version.digest, version.version, found.verdict, files)
    _keep(home, version, one, at=at)
    log.info("%s version %s: its files were recorded", version.name, version.version)


def known(home: Home, use_case: str) -> list[MeasuredVersion]:
    """What nights of this home measured; nothing where it has no warehouse."""
    if not home.warehouse.exists():
        return []
    with open_store(home.warehouse, read_only=True) as store:
        return table.measured_versions(store, use_case)


def require_measured(home: Home, version: Version, *, so: str) -> MeasuredVersion:
    """What a night measured a version as. ``so`` says what follows otherwise, and what to do next.

    Raises:
        DigestMismatch: no night of this home measured it.
    """
    return measured.require_measured(
        known(home, version.name), version.version, version.digest, what=_name(version), so=so
    )


def require_trusted(home: Home, version: Version, *, so: str) -> None:
    """As `require_measured`, and refuse files that are others than were registered.

    Raises:
        DigestMismatch: it says which.
    """
    require_trusted_copy(home, version, version.folder, so=so)


def require_trusted_copy(home: Home, version: Version, copy: Path, *, so: str) -> None:
    """The same of a copy of its files.

    Raises:
        DigestMismatch: it says which.
    """
    found = require_measured(home, version, so=so)
    measured.require_files(found, copy, what=_name(version), so=so)


def verdict_of(home: Home, use_case: str, version: str, digest: str) -> str | None:
    """What the gate said of a version last; None where that was not kept."""
    found = measured.find(known(home, use_case), version, digest)
    return found.verdict if found else None


def publish(home: Home, use_case: str) -> None:
    """Repeat the table where the service reads it; nothing where the warehouse is held."""
    try:
        rows = known(home, use_case)
    except StoreBusy:
        log.warning("%s: the warehouse is held; what the service knows stays", use_case)
        return
    measured.write(home.measured, use_case, rows)


def _name(version: Version) -> str:
    return f"{version.name} version {version.version}"


def _keep(home: Home, version: Version, one: MeasuredVersion, *, at: datetime) -> None:
    with open_store(home.warehouse) as store:
        table.add(store, version.name, one, at=at)
        rows = table.measured_versions(store, version.name)
    measured.write(home.measured, version.name, rows)
