"""A snapshot is named by its content, complete or absent, and refuses tampering."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.dataset import snapshots
from flywheel.errors import DataError
from flywheel.files import hashing
from flywheel.records import Curated, Drop, Example, Snapshot

example = st.builds(
    Example,
    example_id=st.text(min_size=1),
    text=st.text(),
    label=st.sampled_from(("good", "bad")),
    confidence=st.floats(0.01, 1),
    group_id=st.text(),
    split=st.sampled_from(("train", "validation", "holdout")),
    feedback_ids=st.lists(st.text(), unique=True, max_size=3).map(tuple),
    weight=st.floats(1e-6, 1),
    excluded=st.lists(st.sampled_from(("good", "bad")), unique=True).map(tuple),
    cluster_id=st.text(max_size=3),
)
examples = st.lists(example, unique_by=lambda e: e.example_id, max_size=8)

SMALL = Curated(
    examples=(
        Example("1", "un \u00e9l\u00e8ve", "good", 2 / 3, "g1", "train", ("a", "b")),
        Example("2", "two", "bad", 1.0, "g2", "train", ("c",)),
        Example("3", "three", "bad", 1.0, "g3", "holdout", ("d",)),
    ),
    drops=(),
)


@given(examples, st.randoms(use_true_random=False))
def test_same_content_same_id_in_any_order(rows: list[Example], rng: random.Random) -> None:
    shuffled = Curated(tuple(rng.sample(rows, len(rows))), (Drop("x", "too_long"),))
    assert snapshots.snapshot_id(shuffled) == snapshots.snapshot_id(Curated(tuple(rows), ()))


def test_id_is_the_same_on_every_machine() -> None:
    assert snapshots.snapshot_id(SMALL) == "a351806e8a4c348d74993707bdd0c184"


@pytest.mark.parametrize(
    "change",
    [
        {"text": "x"},
        {"label": "bad"},
        {"confidence": 0.5},
        {"group_id": "x"},
        {"split": "holdout"},
        {"feedback_ids": ("a",)},
        {"weight": 0.5},
        {"excluded": ("bad",)},
        {"cluster_id": "x"},
    ],
)
def test_other_content_other_id(change: dict[str, object]) -> None:
    first, *rest = SMALL.examples
    changed = Curated((replace(first, **change), *rest), ())  # type: ignore[arg-type]
    assert snapshots.snapshot_id(changed) != snapshots.snapshot_id(SMALL)


@settings(deadline=None)  # the first write is slow
@given(rows=examples)
def test_what_is_written_is_read(
    rows: list[Example], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("snapshots")
    written = snapshots.write(Curated(tuple(rows), ()), folder)
    ordered = sorted(rows, key=lambda e: e.example_id)
    assert snapshots.read(folder, written.snapshot_id) == tuple(
        replace(row, confidence=round(row.confidence, 6), weight=round(row.weight, 6))
        for row in ordered
    )
    assert written.train + written.validation + written.holdout == len(rows)


def test_written_again_is_untouched(tmp_path: Path) -> None:
    first = snapshots.write(SMALL, tmp_path / "new")
    assert first == Snapshot(snapshots.snapshot_id(SMALL), train=2, validation=0, holdout=1)
    manifest = tmp_path / "new" / first.snapshot_id / "manifest.json"
    os.utime(manifest, (1, 1))
    assert snapshots.write(SMALL, tmp_path / "new") == first
    assert manifest.stat().st_mtime == 1
    assert [path.name for path in (tmp_path / "new").iterdir()] == [first.snapshot_id]


def _edit_row(path: Path) -> None:
    table = pq.read_table(path / "examples.parquet")
    pq.write_table(table.slice(1), path / "examples.parquet")


def _edit_row_and_manifest(path: Path) -> None:
    _edit_row(path)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["examples.parquet"] = hashing.of_file(path / "examples.parquet")
    manifest["counts"]["train"] = 1
    (path / "manifest.json").write_text(json.dumps(manifest))


def _replace_file_and_manifest(path: Path) -> None:
    (path / "examples.parquet").write_bytes(b"x")
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["examples.parquet"] = hashing.of_file(path / "examples.parquet")
    (path / "manifest.json").write_text(json.dumps(manifest))


def _edit_counts(path: Path) -> None:
    text = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(text.replace('"train": 2', '"train": 3'))


def _edit_version(path: Path) -> None:
    text = (path / "manifest.json").read_text()
    (path / "manifest.json").write_text(text.replace('version": 2', 'version": 99'))


@pytest.mark.parametrize(
    "tamper",
    [
        _edit_row,
        _edit_row_and_manifest,
        _replace_file_and_manifest,
        _edit_counts,
        _edit_version,
        lambda path: (path / "examples.parquet").write_bytes(b"x"),
        lambda path: (path / "examples.parquet").unlink(),
        lambda path: (path / "manifest.json").unlink(),
        lambda path: (path / "manifest.json").write_text("{"),
        lambda path: (path / "manifest.json").write_text("[]"),
    ],
)
def test_tampering_is_detected(tmp_path: Path, tamper: Callable[[Path], object]) -> None:
    written = snapshots.write(SMALL, tmp_path)
    tamper(tmp_path / written.snapshot_id)
    with pytest.raises(DataError, match=written.snapshot_id):
        snapshots.read(tmp_path, written.snapshot_id)


def test_unknown_snapshot_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="missing"):
        snapshots.read(tmp_path, "0" * 32)


def test_killed_write_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(path: Path) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(hashing, "of_file", die)
        with pytest.raises(KeyboardInterrupt):
            snapshots.write(SMALL, tmp_path)
    assert [path.name[:5] for path in tmp_path.iterdir()] == [".tmp-"]
    with pytest.raises(DataError):
        snapshots.read(tmp_path, snapshots.snapshot_id(SMALL))
    written = snapshots.write(SMALL, tmp_path)
    assert snapshots.read(tmp_path, written.snapshot_id)[1:] == SMALL.examples[1:]


def test_incomplete_folder_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / snapshots.snapshot_id(SMALL)
    target.mkdir()
    (target / "examples.parquet").write_bytes(b"half")
    snapshots.write(SMALL, tmp_path)
    assert len(snapshots.read(tmp_path, target.name)) == 3
