"""A home in one file: whole, checked, and never written over another one."""

from __future__ import annotations

import fcntl
import io
import json
import shutil
import sqlite3
import tarfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from threading import Timer
from typing import Any, TextIO

import pytest
from click.testing import CliRunner

from flows.cli.main import cli
from flywheel.config import Home
from flywheel.errors import ConfigError, DataError, StoreBusy
from flywheel.home import archive
from flywheel.home.archive import Packing
from flywheel.ingestion.journal import FEEDBACK, Segment
from flywheel.records import NightRecord
from flywheel.store import open_store
from flywheel.store.nights import night_runs
from flywheel.tracking.registry import CHAMPION, Registry
from tasks.coordination.locks import only_night
from tasks.use_case.backup_home import _add_files, _swap, back_up, check, restore
from tests.home.test_upgrades import HOMES, unpack

AT = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
NAME = "deliveries"


@pytest.fixture
def lived(home: Home) -> Home:
    """A small home: a night on record, a database of MLflow's, an inbox with an open segment."""
    with open_store(home.warehouse) as store:
        night_runs.record(store, NAME, NightRecord(AT, "promoted", [], recorded_at=AT))
    with closing(sqlite3.connect(home.root / "mlflow.db")) as con, con:
        con.execute("CREATE TABLE notes (word TEXT)")
        con.execute("INSERT INTO notes VALUES ('kept')")
    inbox = home.inbox(NAME)
    (inbox / "done").mkdir(parents=True)
    (inbox / "done/gold.jsonl").write_text('{"text": "a"}\n')
    (inbox / "served-1.jsonl.open").write_text('{"text": "ünfinished"}\n')
    (home.root / "night-deliveries.lock").touch()
    return home


@pytest.fixture
def archived(lived: Home, tmp_path: Path) -> Path:
    back_up(lived, tmp_path / "home.tar", at=AT)
    return tmp_path / "home.tar"


@pytest.fixture
def other(tmp_path: Path) -> Home:
    """A home that is not there yet."""
    return Home(tmp_path / "elsewhere" / "home")


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def made_by_hand(path: Path, *members: tuple[tarfile.TarInfo, bytes], **listed: Any) -> Path:
    """An archive that says it is one of ours."""
    manifest = {"format": archive.FORMAT, "made_at": "", "home": "", "mode": "755", "files": listed}
    last = (tarfile.TarInfo(archive.MANIFEST), json.dumps(manifest).encode())
    with tarfile.open(path, "w") as tar:
        for member, content in (*members, last):
            member.size = len(content) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(content))
    return path


# ---- There and back


def test_a_restored_home_is_what_was_backed_up(lived: Home, archived: Path, other: Home) -> None:
    restore(other, archived, at=AT)

    ours = {k: v for k, v in files(lived.root).items() if not k.endswith(".lock")}
    theirs = files(other.root)
    assert set(theirs) == set(ours)
    databases = {"mlflow.db", "warehouse.duckdb"}
    assert {k: v for k, v in theirs.items() if k not in databases} == {
        k: v for k, v in ours.items() if k not in databases
    }
    with open_store(other.warehouse) as store:
        assert [night.outcome for night in night_runs.nights(store, NAME)] == ["promoted"]
    with closing(sqlite3.connect(other.root / "mlflow.db")) as con:
        assert con.execute("SELECT word FROM notes").fetchall() == [("kept",)]


def test_a_restored_home_finds_its_champion_at_its_new_place(
    tmp_path: Path, other: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, _ = unpack(HOMES / "0.1.0.tar.xz", tmp_path / "made")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    back_up(source, tmp_path / "home.tar.gz", at=AT)
    shutil.rmtree(source.root)

    restore(other, tmp_path / "home.tar.gz", at=AT)

    champion = Registry(other).by_alias(NAME, CHAMPION)
    assert champion is not None
    assert champion.adapter_dir.is_relative_to(other.mlflow_artifacts)


def test_what_a_writer_has_committed_is_in_it(lived: Home, tmp_path: Path, other: Home) -> None:
    with closing(sqlite3.connect(lived.root / "mlflow.db")) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("INSERT INTO notes VALUES ('committed')")
        writer.commit()
        writer.execute("INSERT INTO notes VALUES ('in the air')")
        back_up(lived, tmp_path / "home.tar", at=AT)
        writer.rollback()

    restore(other, tmp_path / "home.tar", at=AT)

    with closing(sqlite3.connect(other.root / "mlflow.db")) as con:
        assert con.execute("SELECT word FROM notes").fetchall() == [("kept",), ("committed",)]


def test_a_file_that_is_renamed_meanwhile_is_in_it_under_its_new_name(
    lived: Home, tmp_path: Path
) -> None:
    inbox = lived.inbox(NAME)
    (inbox / "a.jsonl").write_text("{}\n")

    class Sealing(Packing):
        """The service seals its segment while the first file is added."""

        def add(self, place: str, file: Any, **like: Any) -> None:
            super().add(place, file, **like)
            opened = inbox / "served-1.jsonl.open"
            if opened.exists():
                opened.rename(inbox / "served-1.jsonl")

    with tarfile.open(tmp_path / "home.tar", "w|") as tar:
        made = Sealing(tar)
        _add_files(made, lived, bases=True)

    assert f"inbox/{NAME}/served-1.jsonl" in made.files


def test_bases_can_be_left_out(lived: Home, tmp_path: Path, other: Home) -> None:
    (lived.models / "tiny").mkdir(parents=True)
    (lived.models / "tiny/model.safetensors").write_bytes(b"w")

    back_up(lived, tmp_path / "home.tar", at=AT, bases=False)
    restore(other, tmp_path / "home.tar", at=AT)

    assert not other.models.exists()
    assert other.warehouse.exists()


def test_converted_models_are_left_out(lived: Home, tmp_path: Path, other: Home) -> None:
    folder = lived.compiled(NAME) / "key"
    folder.mkdir(parents=True)
    (folder / "body.bin").write_bytes(b"w")
    back_up(lived, tmp_path / "home.tar", at=AT)
    restore(other, tmp_path / "home.tar", at=AT)
    assert not other.compiled(NAME).exists()


def test_others_of_the_machine_cannot_read_it(archived: Path) -> None:
    assert archived.stat().st_mode & 0o077 == 0


# ---- What is refused, with nothing changed


def test_nothing_is_backed_up_while_a_night_runs(lived: Home, tmp_path: Path) -> None:
    with (lived.root / "night-deliveries.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StoreBusy, match=r"^A night of deliveries .*; nothing was backed up\."):
            back_up(lived, tmp_path / "home.tar", at=AT)
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_nothing_is_restored_while_a_night_or_a_service_runs(
    lived: Home, archived: Path, tmp_path: Path
) -> None:
    before = files(lived.root)
    with (lived.root / "night-deliveries.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StoreBusy, match=r"A night of deliveries .*; nothing was restored\."):
            restore(lived, archived, at=AT, force=True)
    segment = Segment.create(lived.inbox(NAME), FEEDBACK)
    segment.append(b"{}\n")
    with pytest.raises(StoreBusy, match=r"A service is running .*; nothing was restored"):
        restore(lived, archived, at=AT, force=True)
    segment.seal()
    # who waits for a lock is written into it
    kept = {name: content for name, content in before.items() if not name.endswith(".lock")}
    assert kept.items() <= files(lived.root).items()
    assert [path.name for path in tmp_path.iterdir() if "restoring" in path.name] == []


def test_a_damaged_warehouse_can_be_restored_over(lived: Home, archived: Path) -> None:
    lived.warehouse.write_bytes(b"no database")
    restore(lived, archived, at=AT, force=True)
    with open_store(lived.warehouse) as store:
        assert len(night_runs.nights(store, NAME)) == 1


def test_a_lock_of_a_home_that_was_put_aside_keeps_nobody_out_of_the_new_one(lived: Home) -> None:
    """A night that waited for the restore ran without a lock that others could see."""
    path = lived.root / f"night-{NAME}.lock"
    with path.open("w") as stale:
        fcntl.flock(stale, fcntl.LOCK_EX)
        freed = Timer(0.1, _freed, [path, stale])
        freed.start()
        with only_night(lived, NAME), path.open() as seen, pytest.raises(BlockingIOError):
            fcntl.flock(seen, fcntl.LOCK_EX | fcntl.LOCK_NB)
        freed.join()


def _freed(path: Path, lock: TextIO) -> None:
    """The home goes aside with its lock while somebody waits for it."""
    path.unlink()
    fcntl.flock(lock, fcntl.LOCK_UN)


def test_what_is_written_into_the_home_meanwhile_stops_the_restore(
    lived: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename_folder = Path.rename

    def rename(folder: Path, to: Path) -> Path:
        moved = rename_folder(folder, to)
        (folder / "inbox").mkdir(parents=True)
        return moved

    new = tmp_path / "new"
    new.mkdir()
    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(DataError, match="Somebody wrote to"):
        _swap(lived.root, new, at=AT)
    (aside,) = tmp_path.glob("home.before-*")
    assert (aside / "warehouse.duckdb").exists()


def test_a_backup_overwrites_none_unless_told_to(lived: Home, archived: Path) -> None:
    before = archived.read_bytes()
    with pytest.raises(ConfigError, match="--force"):
        back_up(lived, archived, at=AT)
    assert archived.read_bytes() == before
    assert back_up(lived, archived, at=AT, force=True)["files"] > 0


def test_a_backup_does_not_lie_in_what_it_holds(lived: Home) -> None:
    with pytest.raises(ConfigError, match="lies in the home"):
        back_up(lived, lived.root / "home.tar", at=AT)


def test_a_home_that_is_not_empty_is_left_alone(lived: Home, archived: Path) -> None:
    before = files(lived.root)
    with pytest.raises(ConfigError, match="is not empty"):
        restore(lived, archived, at=AT)
    assert files(lived.root) == before


def test_with_force_it_is_put_aside(lived: Home, archived: Path) -> None:
    (lived.root / "since.txt").write_text("written since")

    done = restore(lived, archived, at=AT, force=True)

    assert not (lived.root / "since.txt").exists()
    assert Path(done["put_aside"], "since.txt").read_text() == "written since"


def test_a_home_with_gits_page_only_is_empty(archived: Path, other: Home) -> None:
    other.root.mkdir(parents=True)
    (other.root / "README.md").write_text("# data/")

    done = restore(other, archived, at=AT)

    assert done["put_aside"] is None
    assert (other.root / "README.md").read_text() == "# data/"
    assert [path.name for path in other.root.parent.iterdir()] == ["home"]


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_a_changed_byte_is_found(archived: Path, other: Home, place: float) -> None:
    content = bytearray(archived.read_bytes())
    # of a file's content, and not of the padding behind it
    at = next(i for i in range(int(place * len(content)), 0, -1) if content[i])
    content[at] ^= 1
    archived.write_bytes(bytes(content))

    with pytest.raises(DataError, match="cannot be restored"):
        restore(other, archived, at=AT)

    assert list(other.root.parent.iterdir()) == []


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_an_archive_that_is_cut_off_is_found(archived: Path, other: Home, share: float) -> None:
    whole = archived.read_bytes()
    end = whole.index(archive.MANIFEST.encode()) - 600
    archived.write_bytes(whole[: int(share * end)])

    with pytest.raises(DataError, match="cannot be restored"):
        restore(other, archived, at=AT)

    assert list(other.root.parent.iterdir()) == []


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "a/..", "..", "."])
def test_nothing_leaves_the_home(tmp_path: Path, other: Home, name: str) -> None:
    bad = made_by_hand(tmp_path / "bad.tar", (tarfile.TarInfo(name), b"evil"))
    with pytest.raises(DataError, match="leads out of the home"):
        restore(other, bad, at=AT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.tar", "elsewhere"]
    assert list(other.root.parent.iterdir()) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_only_plain_files_are_taken(tmp_path: Path, other: Home, kind: bytes) -> None:
    link = tarfile.TarInfo("a")
    link.type, link.linkname = kind, str(tmp_path)
    bad = made_by_hand(tmp_path / "bad.tar", (link, b""), (tarfile.TarInfo("a/evil"), b"evil"))
    with pytest.raises(DataError, match="no plain file"):
        restore(other, bad, at=AT)
    assert not (tmp_path / "evil").exists()


def test_a_place_that_is_named_twice_is_refused(tmp_path: Path, other: Home) -> None:
    bad = made_by_hand(
        tmp_path / "bad.tar", (tarfile.TarInfo("a"), b"1"), (tarfile.TarInfo("a"), b"2")
    )
    with pytest.raises(DataError, match="stands in it twice"):
        restore(other, bad, at=AT)


def test_checking_writes_nothing(archived: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    assert check(archived)["files"] == 5
    assert sorted(tmp_path.iterdir()) == before


def test_the_commands_say_what_they_did(
    lived: Home, tmp_path: Path, other: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = CliRunner().invoke(cli, ["backup", "--json", str(tmp_path / "b.tar")])
    assert done.exit_code == 0, done.output
    made = json.loads(done.stdout)
    monkeypatch.setenv("FLYWHEEL_HOME", str(other.root))

    restored = CliRunner().invoke(cli, ["restore", "--json", made["file"]])

    assert restored.exit_code == 0, restored.output
    assert json.loads(restored.stdout)["files"] == made["files"]
    assert other.warehouse.exists()
