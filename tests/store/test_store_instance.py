"""Whoever opens the warehouse shares an instance with nobody but this process."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from flywheel.errors import StoreBusy
from flywheel.store import instance, open_store
from flywheel.store.compaction import rewrite_file

COUNT = "SELECT count(*) FROM predictions"


def other_process_opens(path: Path) -> bool:
    code = "import duckdb, sys; duckdb.connect(sys.argv[1]).close()"
    asked = [sys.executable, "-c", code, str(path)]
    return subprocess.run(asked, capture_output=True).returncode == 0


def test_the_file_is_locked_while_it_is_open_and_no_longer(tmp_path: Path) -> None:
    path = tmp_path / "it's a warehouse.duckdb"
    with open_store(path), open_store(path):
        with open_store(path):
            pass
        assert not other_process_opens(path)
    assert other_process_opens(path)
    assert not path.with_name(f"{path.name}.wal").exists()


def test_one_process_does_not_read_alone_what_it_writes(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    with open_store(path), pytest.raises(StoreBusy), open_store(path, read_only=True, wait_s=0):
        pass
    with open_store(path, read_only=True) as one, open_store(path, read_only=True) as other:
        assert one.rows(COUNT, {}) == other.rows(COUNT, {})


def test_two_warehouses_and_their_threads_are_kept_apart(tmp_path: Path) -> None:
    found: dict[str, str] = {}

    def name(path: Path) -> None:
        for _ in range(5):
            with open_store(path) as store:
                store.con.execute("CREATE TEMP TABLE mine AS SELECT 1")
                store.con.execute(f"CREATE TABLE IF NOT EXISTS of_{path.stem} (a INTEGER)")
        with open_store(path) as store:
            query = "SELECT table_name FROM duckdb_tables() WHERE table_name LIKE 'of_%' "
            mine = f"{query} AND database_name = current_database()"
            found[path.stem] = store.rows(mine, {})[0][0]

    threads = [threading.Thread(target=name, args=(tmp_path / f"{one}.duckdb",)) for one in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"a": "of_a", "b": "of_b", "c": "of_c"}


@pytest.mark.parametrize("in_use", [False, True])
def test_a_forked_child_opens_a_warehouse_and_ends(tmp_path: Path, in_use: bool) -> None:
    held, path = tmp_path / "held.duckdb", tmp_path / "other.duckdb"
    with open_store(held):
        pass
    opened = instance.connect(held, read_only=False) if in_use else None
    child = os.fork()
    if child == 0:
        with open_store(path) as store:
            store.con.execute("CREATE TABLE of_child AS SELECT range FROM range(1_000_000)")
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    if opened is not None:
        assert opened.con.execute(COUNT).fetchall() == [(0,)]
        opened.close()
    with open_store(path) as store:
        assert store.rows("SELECT count(*) FROM of_child", {}) == [(1_000_000,)]


def exit_code_of_child(does: Callable[[], int]) -> int:
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = does()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_child_finds_busy_what_its_parent_has_open(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"

    def opens() -> int:
        with pytest.raises(StoreBusy), open_store(path, wait_s=0):
            pass
        return 7

    with open_store(path):
        assert exit_code_of_child(opens) == 7


def test_what_does_not_fit_into_memory_lies_beside_its_own_warehouse(tmp_path: Path) -> None:
    for home in ("one", "other", "one"):
        path = tmp_path / home / "warehouse.duckdb"
        with open_store(path) as store:
            found = store.rows("SELECT current_setting('temp_directory')", {})
        assert found == [(f"{path}.tmp",)]


def test_memory_that_an_opening_took_is_given_back(tmp_path: Path) -> None:
    before = instance._resident_bytes()
    with open_store(tmp_path / "warehouse.duckdb") as store:
        store.con.execute("CREATE TEMP TABLE t AS SELECT repeat('x', 150) FROM range(1_000_000)")
    assert instance._resident_bytes() - before < 100 * 2**20


class Damaged:
    """As DuckDB answers for all files of an instance, once it found one of them damaged."""

    def execute(self, _sql: str) -> None:
        raise duckdb.FatalException("database has been invalidated")

    def close(self) -> None:
        pass


def test_a_damaged_warehouse_closes_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged, other = tmp_path / "damaged.duckdb", tmp_path / "other.duckdb"
    with open_store(damaged):
        monkeypatch.setattr(instance, "_instance", Damaged())
        with pytest.raises(StoreBusy), open_store(other, wait_s=0):
            pass
    with open_store(other) as store:
        assert store.rows(COUNT, {}) == [(0,)]


def test_a_file_that_could_not_be_rewritten_can_be_later(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_store(path) as store:
        store.con.execute("CREATE TABLE t AS SELECT hash(range) AS h FROM range(200_000)")
        store.con.execute("CHECKPOINT")
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, old[1]))
        try:
            with pytest.raises(duckdb.Error):
                rewrite_file(store)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
        store.con.execute("DROP TABLE t")
    with open_store(path) as store:
        rewrite_file(store)
