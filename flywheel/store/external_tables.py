"""Other databases, read through DuckDB's attach."""

from __future__ import annotations

from importlib.resources import as_file, files
from importlib.util import find_spec
from typing import Any

import duckdb

from flywheel.errors import ConfigError

_KINDS = {
    "postgres": "postgres",
    "postgresql": "postgres",
    "mysql": "mysql",
    "sqlite": "sqlite",
}


def query(connection: str, sql: str, watermark: str) -> list[dict[str, Any]]:
    """Rows of ``sql`` on a database attached read-only as ``db``.

    Args:
        connection: ``postgresql://…``, ``mysql://…`` or ``sqlite:///path``.
        sql: May use ``$watermark``.
        watermark: Its value.

    Raises:
        ConfigError: an unknown kind of database, no extension for it, or a query that fails.
    """
    scheme = connection.partition("://")[0].partition("+")[0].casefold()
    kind = _KINDS.get(scheme)
    if kind is None:
        raise ConfigError(f"Connections begin with {', '.join(_KINDS)}; found {scheme!r}.")
    target = connection.partition("://")[2].removeprefix("/") if kind == "sqlite" else connection
    with duckdb.connect() as con:
        _load(con, kind)
        try:
            con.execute(
                f"ATTACH '{target.replace(chr(39), chr(39) * 2)}' AS db (TYPE {kind}, READ_ONLY)"
            )
            asked = {"watermark": watermark} if "$watermark" in sql else {}
            found = con.execute(sql, asked)
            columns = [column for column, *_ in found.description or []]
            return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]
        except duckdb.Error as error:
            # the message may quote the connection string
            said = str(error).replace(connection, "…").replace(target, "…").partition("\n")[0]
            raise ConfigError(f"The query on the {kind} database failed: {said}") from error


def _load(con: duckdb.DuckDBPyConnection, kind: str) -> None:
    """Load the extension: from its Python package, from DuckDB's own folder, or fetched."""
    package = f"duckdb_extension_{kind}_scanner"
    if find_spec(package) is not None:
        name = f"extensions/v{duckdb.__version__}/{kind}_scanner.duckdb_extension"
        with as_file(files(package) / name) as path:
            if path.is_file():
                con.load_extension(str(path))
                return
    try:
        con.execute(f"INSTALL {kind}")
        con.load_extension(kind)
    except duckdb.Error as error:
        raise ConfigError(
            f"DuckDB's {kind} extension is not here and cannot be fetched. Install the package "
            f"{package.replace('_', '-')}=={duckdb.__version__}, or run 'INSTALL {kind}' in DuckDB "
            "where there is a network."
        ) from error
