"""The warehouse's file written anew: what was deleted stays readable in its free pages."""

from __future__ import annotations

from contextlib import suppress

import duckdb

from flywheel.errors import DataError
from flywheel.files import private_files
from flywheel.store.instance import STORAGE_VERSION
from flywheel.store.warehouse import Store


def rewrite_file(store: Store) -> None:
    """Copy the warehouse into a new file and put it in the old one's place.

    Deleted rows stay readable in the free pages of a DuckDB file; the copy has none. The old file
    stays locked until the new one is in its place, so nobody writes to it meanwhile. The store
    must be closed next.

    Raises:
        DataError: the copy does not have the same number of rows; the old file stays.
    """
    path = store.path
    if path is None:
        raise DataError("A warehouse in memory has no file to rewrite.")
    slim = path.with_name(f".{path.name}.slim")
    for leftover in (slim, slim.with_name(f"{slim.name}.wal")):
        leftover.unlink(missing_ok=True)
    store.con.execute("CHECKPOINT")
    ((name,),) = store.rows("SELECT current_database()", {})
    quoted = str(slim).replace("'", "''")
    # a name of its own: the process may have other files open, and attach them in other threads
    copy = identifier(f"{name} slim")
    store.con.execute(f"ATTACH '{quoted}' AS {copy} (STORAGE_VERSION '{STORAGE_VERSION}')")
    try:
        store.con.execute(f"COPY FROM DATABASE {identifier(name)} TO {copy}")
        before, after = _row_counts(store, name), _row_counts(store, f"{name} slim")
        store.con.execute(f"CHECKPOINT {copy}")
    except duckdb.Error:
        # a copy that fails leaves its transaction open, in which nothing can be detached
        with suppress(duckdb.TransactionException):
            store.con.execute("ROLLBACK")
        raise
    finally:
        store.con.execute(f"DETACH {copy}")
    if before != after:
        slim.unlink()
        raise DataError(
            f"The copy of {path} has other numbers of rows than the original; the original was "
            "kept. Run forget again.",
            before=before,
            after=after,
        )
    private_files.put_on_disk(slim)
    slim.replace(path)


def _row_counts(store: Store, database: str) -> dict[str, int]:
    tables = store.rows(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = ? ORDER BY table_name",
        [database],
    )
    return {
        table: store.rows(f"SELECT count(*) FROM {identifier(database)}.{identifier(table)}", {})[
            0
        ][0]
        for (table,) in tables
    }


def identifier(name: str) -> str:
    """A name from the catalog, quoted: names cannot be parameters."""
    return '"' + name.replace('"', '""') + '"'
