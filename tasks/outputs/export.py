"""Export a version: write it beside its place, score it, and put it there if it passes."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from flywheel import exports
from flywheel.catalog.base_models import verify_base
from flywheel.catalog.shapes import BF16, FLOAT32, Shape
from flywheel.config import Home, UseCase
from flywheel.dataset import snapshots
from flywheel.errors import DataError, DigestMismatch, DoesNotFit, ExportRefused
from flywheel.exports import Dtype, Form, export_tags
from flywheel.exports.agreement import Asked
from flywheel.modeling import artifact, fingerprint
from flywheel.store import erasure, open_store
from flywheel.tracking.registry import CHAMPION, Registry
from flywheel.tracking.versions import Version
from tasks.champion import trusted_versions
from tasks.verify import holdout_sample

log = logging.getLogger(__name__)

_SPARE = 1.1


def export(
    home: Home,
    name: str,
    *,
    to: Path,
    form: Form,
    at: datetime,
    version: str | None = None,
    alias: str = CHAMPION,
    dtype: Dtype = "float32",
    min_agreement: float | None = None,
    rows: int | None = None,
) -> dict[str, Any]:
    """Export a version of use case ``name``, by number or by ``alias``, into the folder ``to``.

    ``dtype`` is of merged weights. ``rows`` of the holdout are asked, by default all; the share
    that must be answered as measured is `flywheel.exports.least_agreement` unless given. Done twice
    is done once: an export that is there already, whole, is only read. Killed half-way it leaves a
    folder whose name begins with a dot, which the next try removes.

    Returns what ``export.json`` says, with ``path`` and whether it was there ``already``.

    Raises:
        ExportRefused: the form cannot hold what was learned; the version learned from somebody who
            was forgotten, or was never measured; something else lies at ``to``; or the export
            answers otherwise than measured, and is gone.
        DigestMismatch: the version is not what was measured.
        DoesNotFit: there is too little memory or disk for it.
        StoreBusy: another process is exporting to the same folder.
    """
    from flywheel.exports import writer

    registry, to = Registry(home), to.expanduser().resolve()
    found = _version(registry, name, version, alias)
    case = _as_measured(registry, found)
    read = artifact.read(case, found.adapter_dir)
    exports.require_form(case, read.method, form)
    base = artifact.base_folder(case, home, found.adapter_dir)
    assert base is not None
    exports.require_decoder(base)
    verify_base(base)
    _require_digest(case, found, base)
    trusted_versions.require_trusted(home, found, so="Nothing was exported.")
    asked = _holdout(case, home, found, rows)
    least = exports.least_agreement(case) if min_agreement is None else min_agreement
    chosen = dtype if form == "merged" else None
    there = _there(to, found, form, chosen, least=least, rows=len(asked))
    if there is not None:
        registry.tag(name, found.version, {export_tags.key(to): _tag(to, there)})
        return {**there, "path": str(to), "already": True}
    _require_room(base, to, form, dtype)
    with writer.becoming(to) as partial:
        content = writer.write(case, found, read, base, partial, form=form, dtype=chosen, at=at)
        content = writer.ask(case, content, asked, partial, base, least=least)
        with _recorded(registry, found, to, content):
            # asked again: from here on a forgetting finds the tag, before it this finds the mark
            _require_remembered(registry.by_version(name, found.version))
            writer.put(partial, to)
    log.info("exported %s version %s as %s", name, found.version, form)
    return {**content, "path": str(to), "already": False}


# ---- What may leave


def _version(registry: Registry, name: str, version: str | None, alias: str) -> Version:
    found = (
        registry.by_version(name, version)
        if version is not None
        else registry.by_alias(name, alias)
    )
    if found is None:
        raise ExportRefused(f"{name} has no version with alias {alias}; nothing was exported.")
    _require_remembered(found)
    return found


def _require_remembered(version: Version) -> None:
    if version.forgotten_in is not None:
        raise ExportRefused(
            f"{version.name} version {version.version} learned from somebody who was forgotten "
            f"since (certificate {version.forgotten_in}). It does not leave; export a version that "
            "was trained afterwards."
        )


def _as_measured(registry: Registry, version: Version) -> UseCase:
    """The use case as it was when the version was measured: its prompt, its labels."""
    config = version.served_config()
    if config["digest"] != version.digest:
        raise DigestMismatch(
            f"{version.name} version {version.version} was registered as {version.digest[:12]}, "
            f"but its files would be served as {config['digest'][:12]}. Nothing was exported."
        )
    return UseCase.model_validate(config["use_case"])


def _require_digest(case: UseCase, version: Version, base: Path) -> None:
    fingerprint.require_same(
        version.measured,
        fingerprint.of(case, base, version.adapter_dir),
        what=f"{version.name} version {version.version}",
        so="Nothing was exported; run a night to measure a new version.",
    )


def _holdout(case: UseCase, home: Home, version: Version, rows: int | None) -> list[Asked]:
    """Holdout rows with what was measured on them, also where somebody was taken out."""
    snapshot = version.snapshot_id
    if home.warehouse.exists():
        with open_store(home.warehouse, read_only=True) as store:
            after = erasure.rewrites(store, version.name)
        snapshot = after.get(snapshot) or snapshot
    try:
        right = {e.text: e.label for e in snapshots.read(home.snapshots, snapshot)}
    except DataError:
        right = {}
    held = replace(version, snapshot_id=snapshot)
    sample = holdout_sample(case, home, held, rows=rows or len(right)) if right else {}
    if not sample:
        raise ExportRefused(
            f"{version.name} version {version.version} has no measured answers to the holdout "
            "here, so that nothing can be compared with its export. Nothing was exported."
        )
    return [Asked(text, str(right[text]), measured) for text, measured in sample.items()]


def _there(
    to: Path, version: Version, form: Form, dtype: Dtype | None, *, least: float, rows: int
) -> dict[str, Any] | None:
    """What a whole export of the very same says, where it lies there already.

    Raises:
        ExportRefused: something else does, or it is not whole, or was asked less.
    """
    from flywheel.exports import metadata

    if not to.exists() or (to.is_dir() and not any(to.iterdir())):
        return None
    content = metadata.read(to)
    same = content and (version.digest, form, dtype) == tuple(
        content.get(name) for name in ("digest", "form", "dtype")
    )
    if not content or not same:
        raise ExportRefused(
            f"{to} holds something else than {version.name} version {version.version} as {form}; "
            "it was left as it is. Name another folder, or delete it."
        )
    hashes = metadata.file_hashes(to)
    if any(hashes.get(file) != sha256 for file, sha256 in content["files"].items()):
        raise ExportRefused(
            f"The export in {to} is not as it was written; it was left as it is. Delete it to "
            "export anew."
        )
    score = content["scored"][0]
    if score["agreement"] < least or score["rows"] < rows:
        raise ExportRefused(
            f"The export in {to} agreed on {score['agreement']:.4f} of {score['rows']} holdout "
            f"rows, and {least} of {rows} are asked for now. Delete it to export anew."
        )
    return content


def _require_room(base: Path, to: Path, form: Form, dtype: Dtype) -> None:
    if form != "merged":
        return
    from flywheel.modeling import model_loading

    weights = Shape.of(base).weights / 1e6
    there = next(parent for parent in to.parents if parent.exists())
    disk = _SPARE * weights * (FLOAT32 if dtype == "float32" else BF16)
    free = shutil.disk_usage(there).free / 1e6
    if disk > free:
        raise DoesNotFit(f"The export needs {disk:.0f} MB in {there}, where {free:.0f} are free.")
    memory = _SPARE * weights * FLOAT32
    if memory > (free := model_loading.available_memory_mb()):
        raise DoesNotFit(
            f"Merging needs {memory:.0f} MB of memory, and {free:.0f} are free. Nothing was "
            "written."
        )


# ---- What is remembered of it


@contextmanager
def _recorded(
    registry: Registry, version: Version, to: Path, content: Mapping[str, Any]
) -> Iterator[None]:
    """Tag the version with where it lies before it does, and take that back if it then does not."""
    registry.tag(version.name, version.version, {export_tags.key(to): _tag(to, content)})
    done = False
    try:
        yield
        done = True
    finally:
        if not done:
            registry.untag(version.name, version.version, export_tags.key(to))


def _tag(to: Path, content: Mapping[str, Any]) -> str:
    return export_tags.value(to, form=content["form"], at=content["exported_at"])
