"""A use case that was made by mistake can be taken out, and one that learned cannot."""

from __future__ import annotations

import fcntl
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from flows.cli.main import cli
from flywheel.config import Home, UseCase, use_case_path
from flywheel.diagnostics.use_cases import use_cases
from flywheel.errors import ConfigError, DataError, StoreBusy
from flywheel.records import NightRecord
from flywheel.store import open_store
from flywheel.store.nights import night_runs
from tasks.coordination.locks import only_night
from tasks.ingest import ingest_inbox
from tasks.use_case.remove import plan, remove
from tests.strategies import row

AT = datetime(2026, 1, 1, tzinfo=UTC)
SECRET = "xylophone"


@pytest.fixture
def folder(home: Home, use_case: UseCase, tmp_path: Path) -> Path:
    """Two use cases with a row each; the file of the one to be removed cannot be read."""
    folder = tmp_path / "usecases"
    folder.mkdir()
    for name in ("wrong", "right"):
        (folder / f"{name}.yaml").write_text("labels: [")
        inbox = home.inbox(name)
        inbox.mkdir(parents=True)
        (inbox / "a.jsonl").write_text(json.dumps(row(text=f"{SECRET} {name}", value="positive")))
        ingest_inbox(use_case.model_copy(update={"name": name}), home, at=AT)
    return folder


def test_a_use_case_without_nights_goes_wholly_and_the_other_stays(
    home: Home, folder: Path
) -> None:
    with open_store(home.warehouse) as store:
        store.con.execute("INSERT INTO forgotten VALUES ('wrong', 'h', 'c', ?)", [AT])
    for name in ("wrong", "right"):
        home.compiled(name).mkdir(parents=True)
    told = plan(home, "wrong", folder=folder)
    assert (told.rows, told.inbox) == ({"feedback": 1, "ingested_files": 1}, 1)
    assert (folder / "wrong.yaml").exists(), "a plan changes nothing"
    assert remove(home, "wrong", folder=folder) == told
    assert [path.name for path in folder.iterdir()] == ["right.yaml"]
    assert not home.inbox("wrong").exists()
    assert (home.compiled("wrong").exists(), home.compiled("right").exists()) == (False, True)
    assert f"{SECRET} wrong".encode() not in home.warehouse.read_bytes()
    with open_store(home.warehouse, read_only=True) as store:
        assert [name for (name,) in store.rows("SELECT use_case FROM feedback", [])] == ["right"]
        assert store.rows("SELECT use_case FROM forgotten", []) == [("wrong",)]
    assert use_cases(folder, home)["without_file"] == []
    with pytest.raises(ConfigError, match="no use case wrong"):
        remove(home, "wrong", folder=folder)


def test_one_that_had_a_night_is_refused_with_what_to_do(home: Home, folder: Path) -> None:
    with open_store(home.warehouse) as store:
        night_runs.record(store, "wrong", NightRecord(AT, "skipped", [], recorded_at=AT))
    with pytest.raises(DataError, match=r"had 1 nights .* Nothing was removed\. .* move "):
        remove(home, "wrong", folder=folder)
    assert (folder / "wrong.yaml").exists()
    assert home.inbox("wrong").is_dir()


def test_nothing_goes_while_a_night_runs_or_a_service_writes(home: Home, folder: Path) -> None:
    with (
        only_night(home, "wrong"),
        pytest.raises(StoreBusy, match=r"A night of wrong is running .* nothing was removed"),
    ):
        remove(home, "wrong", folder=folder)
    segment = home.inbox("wrong") / "served-1.feedback.jsonl.open"
    with segment.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StoreBusy, match=r"Stop flywheel serve -u wrong"):
            remove(home, "wrong", folder=folder)
    assert (folder / "wrong.yaml").exists()


@pytest.mark.parametrize("name", ["..", "../right", "", "right/../wrong"])
def test_a_path_is_no_name(home: Home, folder: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="no name of a use case"):
        remove(home, name, folder=folder)


def test_the_command_only_tells_unless_it_is_told_to_do_it(
    home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    told = CliRunner().invoke(cli, ["remove", "wrong"])
    assert told.exit_code == 0
    assert "2 rows of the warehouse" in told.output
    assert "Nothing was removed; --yes does it." in told.output
    assert (folder / "wrong.yaml").exists()
    done = CliRunner().invoke(cli, ["remove", "wrong", "--yes", "--json"])
    assert json.loads(done.stdout)["done"] is True
    assert not (folder / "wrong.yaml").exists()


def test_a_copy_that_kept_its_name_does_not_take_the_rows_of_the_other(
    home: Home, folder: Path
) -> None:
    written = use_case_path("product-reviews").read_text(encoding="utf-8")
    for name in ("copy", "right"):
        there = written.replace("name: product-reviews", "name: right", 1)
        (folder / f"{name}.yaml").write_text(there, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"those of .*right\.yaml; .*copy\.yaml says the same"):
        remove(home, "copy", folder=folder)
    (folder / "right.yaml").unlink()
    with pytest.raises(ConfigError, match="flywheel remove copy takes that out"):
        remove(home, "right", folder=folder)
    assert remove(home, "copy", folder=folder).rows["feedback"] == 1
