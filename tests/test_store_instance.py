"""Whoever opens the warehouse shares an instance with nobody but this process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flywheel.errors import StoreBusy
from flywheel.store import instance, open_store

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
