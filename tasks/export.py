"""Export a version: write it beside its place, ask it the exam as anybody would, then put it there."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version as library
from pathlib import Path
from typing import Any

from flywheel import artefact, exports, fingerprint, progress, snapshots
from flywheel.artefact import Artefact
from flywheel.bases import verify_base
from flywheel.config import Home, UseCase
from flywheel.environment import DECISIVE_LIBRARIES
from flywheel.errors import DataError, DigestMismatch, DoesNotFit, ExportRefused, StoreBusy
from flywheel.exports import Dtype, Form, record
from flywheel.exports.score import Asked, Score, of_labels, of_texts
from flywheel.registry import CHAMPION, Registry, Version
from flywheel.shapes import BF16, FLOAT32, Shape
from flywheel.store import forgetting, open_store
from tasks.verify import exam_sample

log = logging.getLogger(__name__)

PARTIAL = ".tmp-"
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

    ``dtype`` is of merged weights. ``rows`` of the exam are asked, by default all; the share that
    must be answered as measured is `flywheel.exports.least_agreement` unless given. Done twice is
    done once: an export that is there already, whole, is only read. Killed half-way it leaves a
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
    registry, to = Registry(home), to.expanduser().resolve()
    found = _version(registry, name, version, alias)
    case = _as_measured(registry, found)
    read = artefact.read(case, found.adapter_dir)
    exports.require_form(case, read.method, form)
    base = artefact.base_folder(case, home, found.adapter_dir)
    assert base is not None
    verify_base(base)
    _require_digest(case, found, base)
    asked = _exam(case, home, found, rows)
    least = exports.least_agreement(case) if min_agreement is None else min_agreement
    chosen = dtype if form == "merged" else None
    there = _there(to, found, form, chosen, least=least, rows=len(asked))
    if there is not None:
        registry.tag(name, found.version, {record.key(to): _tag(to, there)})
        return {**there, "path": str(to), "already": True}
    _require_room(base, to, form, dtype)
    with _becoming(to) as partial:
        content = _write(case, found, read, base, partial, form=form, dtype=chosen, at=at)
        content = _ask(case, content, asked, partial, base, least=least)
        with _recorded(registry, found, to, content):
            # asked again: from here on a forgetting finds the tag, before it this finds the mark
            _require_remembered(registry.by_version(name, found.version))
            partial.rename(to)
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
    config = registry.served_config(version)
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


def _exam(case: UseCase, home: Home, version: Version, rows: int | None) -> list[Asked]:
    """Rows of the exam with what was measured on them, also where somebody was taken out of it."""
    snapshot = version.snapshot_id
    if home.warehouse.exists():
        with open_store(home.warehouse, read_only=True) as store:
            after = forgetting.rewrites(store, version.name)
        snapshot = after.get(snapshot) or snapshot
    try:
        right = {e.text: e.label for e in snapshots.read(home.snapshots, snapshot)}
    except DataError:
        right = {}
    held = replace(version, snapshot_id=snapshot)
    sample = exam_sample(case, home, held, rows=rows or len(right)) if right else {}
    if not sample:
        raise ExportRefused(
            f"{version.name} version {version.version} has no measured answers to the exam here, "
            "so that nothing can be compared with its export. Nothing was exported."
        )
    return [Asked(text, str(right[text]), measured) for text, measured in sample.items()]


def _there(
    to: Path, version: Version, form: Form, dtype: Dtype | None, *, least: float, rows: int
) -> dict[str, Any] | None:
    """What a whole export of the very same says, where it lies there already.

    Raises:
        ExportRefused: something else does, or it is not whole, or was asked less.
    """
    from flywheel.exports import card

    if not to.exists() or (to.is_dir() and not any(to.iterdir())):
        return None
    content = card.read(to)
    same = content and (version.digest, form, dtype) == tuple(
        content.get(name) for name in ("digest", "form", "dtype")
    )
    if not content or not same:
        raise ExportRefused(
            f"{to} holds something else than {version.name} version {version.version} as {form}; "
            "it was left as it is. Name another folder, or delete it."
        )
    if content["files"] != card.file_hashes(to):
        raise ExportRefused(
            f"The export in {to} is not as it was written; it was left as it is. Delete it to "
            "export anew."
        )
    score = content["scored"][0]
    if score["agreement"] < least or score["rows"] < rows:
        raise ExportRefused(
            f"The export in {to} agreed on {score['agreement']:.4f} of {score['rows']} exam rows, "
            f"and {least} of {rows} are asked for now. Delete it to export anew."
        )
    return content


def _require_room(base: Path, to: Path, form: Form, dtype: Dtype) -> None:
    if form != "merged":
        return
    from flywheel import inference

    weights = Shape.of(base).weights / 1e6
    there = next(parent for parent in to.parents if parent.exists())
    disk = _SPARE * weights * (FLOAT32 if dtype == "float32" else BF16)
    free = shutil.disk_usage(there).free / 1e6
    if disk > free:
        raise DoesNotFit(f"The export needs {disk:.0f} MB in {there}, where {free:.0f} are free.")
    memory = _SPARE * weights * FLOAT32
    if memory > (free := inference.available_memory_mb()):
        raise DoesNotFit(
            f"Merging needs {memory:.0f} MB of memory, and {free:.0f} are free. Nothing was written."
        )


# ---- What leaves


def _write(
    case: UseCase,
    version: Version,
    read: Artefact,
    base: Path,
    folder: Path,
    *,
    form: Form,
    dtype: Dtype | None,
    at: datetime,
) -> dict[str, Any]:
    """Weights, tokenizer, ``answer.py`` and what it goes by; returns the last."""
    from flywheel import inference
    from flywheel.exports import answer, card, weights

    name, revision = card.base_name(str(read.base))
    weights.write_tokenizer(base, folder)
    if dtype is None:
        weights.write_adapter(version.adapter_dir, folder, base=name, revision=revision)
    else:
        weights.write_merged(case, base, version.adapter_dir, folder, dtype=dtype)
        inference.release()
    shutil.copyfile(answer.__file__, folder / card.ANSWER)
    content = card.about(
        case,
        version=version.version,
        digest=version.digest,
        snapshot_id=version.snapshot_id,
        form=form,
        method=read.method,
        dtype=dtype,
        base=card.about_base(str(read.base), base, method=read.method),
        how=card.answering(case, answer.tokenizer_in(folder), read),
        at=at.isoformat(),
        libraries={one: library(one) for one in DECISIVE_LIBRARIES},
    )
    card.write(folder, content)
    return content


def _ask(
    case: UseCase,
    content: dict[str, Any],
    asked: list[Asked],
    folder: Path,
    base: Path,
    *,
    least: float,
) -> dict[str, Any]:
    """Load it back, compare it with what was measured, and write down what came of it.

    Raises:
        ExportRefused: it answers otherwise.
    """
    from flywheel.exports import card, page

    merged = content["form"] == "merged"
    packed = content["base"]["in_4_bits"] and not merged
    said = (
        f"merged, in {content['dtype']}"
        if merged
        else f"on the base in {'4 bits' if packed else 'bfloat16'}, as it was learned"
    )
    score = _score(case, asked, folder, base, in_4_bits=packed)
    if not score.agreement >= least:
        of = "their mean ROUGE-L" if case.generates else "the share of the same answers"
        raise ExportRefused(
            f"Loaded back, {said}, the export answers {len(asked)} exam rows otherwise than "
            f"measured: {of} is {score.agreement:.4f}, and {least} is wanted. It was deleted; "
            "nothing is exported.",
            **card.scored(score),
        )
    scores = [{"loaded": said, **card.scored(score)}]
    if packed:
        plain = _score(case, asked, folder, base, in_4_bits=False)
        scores.append({"loaded": "on the base in bfloat16 instead", **card.scored(plain)})
    content = {**content, "scored": scores}
    peft = None if merged else json.loads((folder / artefact.PEFT_CONFIG).read_text())
    (folder / card.README).write_text(page.page(content, peft), encoding="utf-8")
    content = {**content, "files": card.file_hashes(folder)}
    card.write(folder, content)
    return content


def _score(
    case: UseCase, asked: list[Asked], folder: Path, base: Path, *, in_4_bits: bool
) -> Score:
    from flywheel import inference
    from flywheel.exports import answer

    with inference.quiet():
        exported = answer.load(folder, base=base, in_4_bits=in_4_bits)
        with progress.bar(f"asking the export {len(asked)} exam rows") as step:
            answers = exported.answer([row.text for row in asked], progress=step)
    del exported
    inference.release()
    return of_texts(asked, answers) if case.generates else of_labels(asked, answers)


# ---- Where it leaves to


@contextmanager
def _becoming(folder: Path) -> Iterator[Path]:
    """An empty folder beside ``folder``, for one process at a time; gone afterwards, unless renamed.

    Raises:
        StoreBusy: another process has it.
    """
    partial = folder.with_name(f"{PARTIAL}{folder.name}")
    partial.mkdir(parents=True, exist_ok=True)
    held = os.open(partial, os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreBusy(
                f"Another process is exporting to {folder}; this one did nothing."
            ) from error
        for left in partial.iterdir():
            left.unlink() if left.is_file() else shutil.rmtree(left)
        try:
            yield partial
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    finally:
        os.close(held)


@contextmanager
def _recorded(
    registry: Registry, version: Version, to: Path, content: Mapping[str, Any]
) -> Iterator[None]:
    """Tag the version with where it lies before it does, and take that back if it then does not."""
    registry.tag(version.name, version.version, {record.key(to): _tag(to, content)})
    done = False
    try:
        yield
        done = True
    finally:
        if not done:
            registry.untag(version.name, version.version, record.key(to))


def _tag(to: Path, content: Mapping[str, Any]) -> str:
    return record.value(to, form=content["form"], at=content["exported_at"])
