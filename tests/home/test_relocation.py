"""A home may be moved and copied: it finds its own files, and never touches the original's."""

from __future__ import annotations

import fcntl
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from flywheel.config import Home
from flywheel.errors import StoreBusy
from flywheel.tracking.registry import CHAMPION, Registry
from flywheel.tracking.relocation import follow_move
from tests.home.test_upgrades import HOMES, unpack

NAME = "deliveries"
MADE_AT = "/srv/flywheel-0.1.0/data"


@pytest.fixture
def moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home that was made elsewhere, with two versions; opened by nobody yet."""
    home, _ = unpack(HOMES / "0.1.0.tar.xz", tmp_path / "some where")
    # set first, so that what MLflow leaves there goes away with the test
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    go_to(home, monkeypatch)
    return home


def execute(home: Home, sql: str, *values: str) -> list[str]:
    with closing(sqlite3.connect(home.root / "mlflow.db")) as con, con:
        return [str(row[0]) for row in con.execute(sql, values)]


def locations(home: Home) -> list[str]:
    return execute(
        home,
        "SELECT artifact_location FROM experiments WHERE name = 'deliveries' "
        "UNION ALL SELECT artifact_uri FROM runs "
        "UNION ALL SELECT artifact_location FROM logged_models "
        "UNION ALL SELECT storage_location FROM model_versions",
    )


def files(home: Home) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in home.root.rglob("*") if p.is_file()}


def go_to(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a new process would: MLflow leaves the registry that it opened in the environment."""
    monkeypatch.setenv("FLYWHEEL_HOME", str(home.root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def as_champion(home: Home, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this home finds the files of its champion."""
    go_to(home, monkeypatch)
    found = Registry(home).by_alias(NAME, CHAMPION)
    assert found is not None
    return found.adapter_dir


def test_a_moved_home_finds_its_champion(moved: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    assert as_champion(moved, monkeypatch).is_relative_to(moved.mlflow_artifacts)
    assert all(place.startswith(moved.mlflow_artifacts.as_uri()) for place in locations(moved))


def test_a_home_moves_once(moved: Home) -> None:
    assert follow_move(moved) == (MADE_AT,)
    assert follow_move(moved) == ()


def test_a_copied_home_writes_nothing_into_the_original(
    moved: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    as_champion(moved, monkeypatch)
    copy = Home(tmp_path / "copy")
    shutil.copytree(moved.root, copy.root)
    before = files(moved)
    go_to(copy, monkeypatch)

    registry = Registry(copy)
    version = registry.by_version(NAME, "1")
    registry.attach(version, "reports/copied.txt", "of the copy")

    assert files(moved) == before
    (attached,) = copy.mlflow_artifacts.rglob("copied.txt")
    assert attached.read_text() == "of the copy"
    assert version.adapter_dir.is_relative_to(copy.mlflow_artifacts)


def test_an_experiment_without_a_run_is_not_left_at_the_original(
    moved: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Registry(moved).experiment("another")
    copy = Home(tmp_path / "copy")
    shutil.copytree(moved.root, copy.root)
    # the original goes on, so that its folder is there and the copy's is not
    (moved.mlflow_artifacts / "another").mkdir()
    go_to(copy, monkeypatch)

    follow_move(copy)

    (place,) = execute(copy, "SELECT artifact_location FROM experiments WHERE name = 'another'")
    assert place == (copy.mlflow_artifacts / "another").as_uri()


def test_a_home_under_a_second_name_keeps_its_paths(moved: Home, tmp_path: Path) -> None:
    follow_move(moved)
    (tmp_path / "second").symlink_to(moved.root)
    second = (tmp_path / "second").as_uri()
    execute(
        moved, "UPDATE experiments SET artifact_location = ?", f"{second}/mlflow-artifacts/{NAME}"
    )
    assert follow_move(moved) == ()


def test_what_lies_in_no_home_is_left(moved: Home) -> None:
    bucket = "s3://bucket/mlflow-artifacts/deliveries"
    execute(moved, "UPDATE experiments SET artifact_location = ?", bucket)
    assert follow_move(moved) == ()
    assert bucket in locations(moved)


def test_a_home_that_uses_this_registry_keeps_its_experiments(moved: Home, tmp_path: Path) -> None:
    guest = Home(tmp_path / "guest")
    (guest.mlflow_artifacts / "theirs").mkdir(parents=True)
    place = (guest.mlflow_artifacts / "theirs").as_uri()
    execute(moved, "UPDATE experiments SET artifact_location = ? WHERE name = 'Default'", place)

    follow_move(moved)

    (now,) = execute(moved, "SELECT artifact_location FROM experiments WHERE name = 'Default'")
    assert now == place


def test_paths_stay_while_a_night_runs_here_under_another_path(moved: Home) -> None:
    before = locations(moved)
    with (moved.root / "night-deliveries.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StoreBusy, match="A night is running"):
            follow_move(moved)
    assert locations(moved) == before


def test_a_registry_elsewhere_is_not_ours_to_change(
    moved: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert follow_move(moved) == ()
    assert all(MADE_AT in place for place in locations(moved))
