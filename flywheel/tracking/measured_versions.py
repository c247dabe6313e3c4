"""Which registered versions a night of this home measured: the root of trust for what may serve.

Tags and files in MLflow are whatever somebody wrote there. The warehouse says what was measured,
as what, and with which files. The service never opens the warehouse, so that a file beside the
measured answers repeats the table for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from flywheel.errors import DataError, DigestMismatch, NotMeasured
from flywheel.files import private_files
from flywheel.files.json_files import damaged, read_json
from flywheel.tracking import model_files

FILE = "versions.json"
_SHOWN = 12


@dataclass(frozen=True)
class MeasuredVersion:
    """A digest that a night measured.

    ``version`` is None for those measured before numbers were kept: any version with that digest
    is the one. ``verdict`` is the gate's, None where it was not kept. ``files`` are the hashes of
    its folder in the registry, None until they were taken.
    """

    digest: str
    version: str | None = None
    verdict: str | None = None
    files: Mapping[str, str] | None = field(default=None, repr=False)


def find(known: Sequence[MeasuredVersion], version: str, digest: str) -> MeasuredVersion | None:
    """The row of a version; None where no night measured it."""
    same = [one for one in known if one.digest == digest]
    exact = [one for one in same if one.version == version]
    return next(iter(exact or [one for one in same if one.version is None]), None)


def require_measured(
    known: Sequence[MeasuredVersion], version: str, digest: str, *, what: str, so: str
) -> MeasuredVersion:
    """The row of a version that was measured. ``so`` says what follows, and what to do next.

    Raises:
        NotMeasured: no night of this home did.
    """
    found = find(known, version, digest)
    if found is not None:
        return found
    others = ", ".join(sorted({str(one.version) for one in known if one.digest == digest}))
    why = (
        f"its digest is that of version {others}, which a night measured"
        if others
        else f"the warehouse knows no digest {digest[:_SHOWN]}"
    )
    raise NotMeasured(
        f"{what} was measured by no night of this home: {why}. Its tags in MLflow are not "
        f"believed. {so}"
    )


def require_files(found: MeasuredVersion, folder: Path, *, what: str, so: str) -> None:
    """Refuse a folder in the registry that is not as it was registered.

    Raises:
        DigestMismatch: a file was added, changed or removed; it names them.
    """
    if found.files is None:
        return
    differing = model_files.changes(found.files, model_files.hashes(folder))
    if differing:
        raise DigestMismatch(
            f"{what} is not as it was registered: {'; '.join(differing)} in {folder}. {so}"
        )


# ---- The file that the service reads


def path(folder: Path, use_case: str) -> Path:
    """Where the table of a use case is repeated, within `Home.measured`."""
    return folder / use_case / FILE


def write(folder: Path, use_case: str, known: Sequence[MeasuredVersion]) -> None:
    """Repeat the table, whole or not at all, as private as the home."""
    target = path(folder, use_case)
    content = json.dumps([asdict(one) for one in known])
    if target.is_file() and target.read_text(encoding="utf-8") == content:
        return
    private_files.replace(target, content.encode())


def read(folder: Path, use_case: str) -> list[MeasuredVersion]:
    """The table as it was last written.

    Raises:
        DataError: it was never written, or is damaged.
    """
    file = path(folder, use_case)
    so = f"No version takes traffic. flywheel serve -u {use_case} writes it anew as it starts."
    try:
        content = read_json(file, so=so)
    except FileNotFoundError as error:
        raise DataError(
            f"{file}, which says what nights measured, is missing. {so}", path=str(file)
        ) from error
    try:
        return [MeasuredVersion(**one) for one in content]
    except TypeError as error:
        raise damaged(file, "no list of measured versions", so=so) from error
