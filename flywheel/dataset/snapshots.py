"""Frozen, content-addressed sets of examples on disk.

    FOLDER/<snapshot_id>/examples.parquet   ordered by example_id
    FOLDER/<snapshot_id>/manifest.json      written last: with it, the snapshot is complete

The id is a hash of the examples and not of the bytes on disk: same content, same id, on any
machine, whichever version of Parquet wrote it. The manifest also holds the hash of the file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flywheel.errors import DataError
from flywheel.files import hashing
from flywheel.records import Curated, Example, Snapshot, Split

FORMAT_VERSION = 2
_WRITTEN = {"train": "train", "validation": "validation", "holdout": "exam"}
"""Split → the word for it in a file. The id hashes these words, so they stay as they were first."""
_SPLITS: dict[str, Split] = {"train": "train", "validation": "validation", "exam": "holdout"}
_EXAMPLES = "examples.parquet"
_MANIFEST = "manifest.json"
_SCHEMA = pa.schema(
    [
        ("example_id", pa.string()),
        ("text", pa.string()),
        ("label", pa.string()),
        ("confidence", pa.float64()),
        ("group_id", pa.string()),
        ("split", pa.string()),
        ("feedback_ids", pa.list_(pa.string())),
        ("weight", pa.float64()),
        ("excluded", pa.list_(pa.string())),
        ("cluster_id", pa.string()),
    ]
)


def snapshot_id(curated: Curated) -> str:
    """Return 32 hex digits that name the examples, whatever their order; drops do not count."""
    return _content_id(_rows(curated.examples))


def write(curated: Curated, folder: Path) -> Snapshot:
    """Freeze the examples in ``folder``; writing the same examples again changes nothing.

    A process killed at any instant leaves either a complete snapshot or none. What is found in
    its place and is not a complete snapshot is replaced.
    """
    rows = _rows(curated.examples)
    snapshot = _snapshot(_content_id(rows), rows)
    target = folder / snapshot.snapshot_id
    if _is_complete(target):
        return snapshot
    staging = folder / f".tmp-{snapshot.snapshot_id}-{os.getpid()}"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    pq.write_table(
        pa.Table.from_pylist(rows, schema=_SCHEMA), staging / _EXAMPLES, compression="zstd"
    )
    manifest = {
        "format_version": FORMAT_VERSION,
        "snapshot_id": snapshot.snapshot_id,
        "counts": _counts(rows),
        "files": {_EXAMPLES: hashing.of_file(staging / _EXAMPLES)},
    }
    text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
    (staging / _MANIFEST).write_text(text, encoding="utf-8")
    if target.exists():
        shutil.rmtree(target)
    try:
        staging.rename(target)
    except OSError:
        # Another process wrote the same examples meanwhile: its snapshot is as good as ours.
        shutil.rmtree(staging, ignore_errors=True)
        if not _is_complete(target):
            raise
    return snapshot


def read(folder: Path, snapshot_id: str) -> tuple[Example, ...]:
    """Return the examples of a snapshot, ordered by ``example_id``.

    Raises:
        DataError: there is no such complete snapshot, or it is not what was written.
    """
    path = folder / snapshot_id
    manifest = _verified_manifest(path)
    try:
        rows: list[dict[str, Any]] = pq.read_table(path / _EXAMPLES, schema=_SCHEMA).to_pylist()
    except pa.ArrowException as error:
        raise _unusable(path, f"{_EXAMPLES} is not Parquet as written here") from error
    if _content_id(rows) != snapshot_id or _counts(rows) != manifest.get("counts"):
        raise _unusable(path, "its examples are not the ones its id names")
    return tuple(
        Example(
            **{
                **row,
                "split": _SPLITS[row["split"]],
                "feedback_ids": tuple(row["feedback_ids"]),
                "excluded": tuple(row["excluded"]),
            }
        )
        for row in rows
    )


def named(folder: Path, snapshot_id: str, names: Collection[str]) -> list[tuple[str, str | None]]:
    """Text and label of the examples of these ids; neither counted nor compared with the hash.

    Raises:
        DataError: the snapshot cannot be read.
    """
    path = folder / snapshot_id / _EXAMPLES
    try:
        wanted = pc.field("example_id").isin(sorted(names))
        found = pq.read_table(path, columns=["text", "label"], filters=wanted)
    except (pa.ArrowException, OSError) as error:
        raise _unusable(path.parent, f"{_EXAMPLES} is not Parquet as written here") from error
    return [(row["text"], row["label"]) for row in found.to_pylist()]


def _rows(examples: Iterable[Example]) -> list[dict[str, Any]]:
    return [
        {
            "example_id": example.example_id,
            "text": example.text,
            "label": example.label,
            "confidence": round(example.confidence, 6),
            "group_id": example.group_id,
            "split": _WRITTEN[example.split],
            "feedback_ids": list(example.feedback_ids),
            "weight": round(example.weight, 6),
            "excluded": list(example.excluded),
            "cluster_id": example.cluster_id,
        }
        for example in sorted(examples, key=lambda example: example.example_id)
    ]


def _content_id(rows: Iterable[dict[str, Any]]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        line = json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()[:32]


def _counts(rows: Iterable[dict[str, Any]]) -> dict[str, int]:
    counted = Counter(row["split"] for row in rows)
    return {split: counted[split] for split in _SPLITS}


def _snapshot(identity: str, rows: Iterable[dict[str, Any]]) -> Snapshot:
    counted = _counts(rows)
    sizes = {_SPLITS[word]: number for word, number in counted.items()}
    return Snapshot(snapshot_id=identity, **sizes)


def _verified_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
        found = hashing.of_file(path / _EXAMPLES)
    except FileNotFoundError as error:
        raise _unusable(path, f"{error.filename} is missing") from error
    except ValueError as error:
        raise _unusable(path, "its manifest is not JSON") from error
    if not isinstance(manifest, dict) or manifest.get("snapshot_id") != path.name:
        raise _unusable(path, "its manifest names another snapshot")
    if manifest.get("format_version") != FORMAT_VERSION:
        written = manifest.get("format_version")
        raise _unusable(path, f"format {FORMAT_VERSION} is expected, {written!r} was found")
    if manifest.get("files") != {_EXAMPLES: found}:
        raise _unusable(path, f"{_EXAMPLES} differs from what its manifest says")
    return manifest


def _is_complete(path: Path) -> bool:
    try:
        _verified_manifest(path)
    except DataError:
        return False
    return True


def _unusable(path: Path, fault: str) -> DataError:
    return DataError(
        f"Snapshot {path.name} cannot be used: {fault} (in {path.parent}). Nothing was read or "
        "changed; curate again to write it anew.",
        snapshot_id=path.name,
    )
