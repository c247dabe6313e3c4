"""Other databases, read through DuckDB's attach."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from importlib.resources import as_file, files
from importlib.util import find_spec
from typing import Any

import duckdb

from flywheel.errors import ConfigError

_OVERLAP = timedelta(days=2)
_IDS = 1_000
"""Numbers of a sequence that may be taken and not yet committed."""
_FIRST = datetime(1, 1, 1)
_KINDS = {
    "postgres": "postgres",
    "postgresql": "postgres",
    "mysql": "mysql",
    "sqlite": "sqlite",
}


def query(connection: str, sql: str, watermark: str, column: str | None) -> list[dict[str, Any]]:
    """Rows of ``sql`` on a database attached read-only as ``db``.

    Args:
        connection: ``postgresql://…``, ``mysql://…`` or ``sqlite:///path``.
        sql: May use ``$watermark``.
        watermark: The greatest value that was read, as a text; empty at first.
        column: The one whose value that is; what ``$watermark`` is, is of its type.

    Raises:
        ConfigError: an unknown kind of database, no extension for it, or a query that fails.
    """
    # without :// the whole is a connection string of another form, with its password
    scheme = connection.partition("://")[0].partition("+")[0].casefold() * ("://" in connection)
    kind = _KINDS.get(scheme)
    if kind is None:
        raise ConfigError(
            f"Connections begin with one of {', '.join(_KINDS)}, then ://; found "
            f"{repr(scheme) if scheme else 'no ://'}."
        )
    target = connection.partition("://")[2].removeprefix("/") if kind == "sqlite" else connection
    with duckdb.connect() as con:
        _load(con, kind)
        try:
            con.execute(
                f"ATTACH '{target.replace(chr(39), chr(39) * 2)}' AS db (TYPE {kind}, READ_ONLY)"
            )
            found = con.execute(sql, _asked(con, sql, watermark, column))
            columns = [column for column, *_ in found.description or []]
            return [dict(zip(columns, row, strict=True)) for row in found.fetchall()]
        except duckdb.Error as error:
            # the message may quote the connection string
            said = str(error).replace(connection, "…").replace(target, "…").partition("\n")[0]
            raise ConfigError(f"The query on the {kind} database failed: {said}") from error


def _asked(
    con: duckdb.DuckDBPyConnection, sql: str, watermark: str, column: str | None
) -> dict[str, Any]:
    """The value of ``$watermark``, of the type of its column; '' where none is named."""
    if "$watermark" not in sql:
        return {}
    if column is None:
        return {"watermark": watermark}
    plan = con.execute(f"SELECT * FROM ({sql.rstrip().rstrip(';')}) LIMIT 0", {"watermark": None})
    kinds = {name: str(kind) for name, kind, *_ in plan.description or []}
    return {"watermark": start_of(watermark, kinds.get(column, "VARCHAR"))}


def start_of(watermark: str, kind: str) -> str | int | Decimal | datetime:
    """From where a query with ``>`` reads, a little before the watermark.

    What has the same time may come later, and what began earlier may be committed later. It is
    read again for two days, and known by its id.
    """
    if kind.startswith(("TIMESTAMP", "DATE")):
        then = datetime.fromisoformat(watermark) if watermark else _FIRST
        return then - _OVERLAP if watermark else then
    if kind.startswith(("DECIMAL", "DOUBLE", "FLOAT")) or kind.endswith("INT") or "INTEGER" in kind:
        last = Decimal(watermark) if watermark else Decimal(-(2**62))
        start = int(last) - _before(last) if watermark else int(last)
        return max(start, 0) if kind.startswith("U") else start
    if not watermark:
        return ""
    try:
        # as texts, times are in the order of time too
        return (datetime.fromisoformat(watermark) - _OVERLAP).date().isoformat()
    except ValueError:
        return watermark[:-1]


def _before(number: Decimal) -> int:
    """As long, where a number can be a time since 1970; else some ids that were given before."""
    unit = next((unit for unit in (10**6, 10**3, 1) if number >= 10**9 * unit), None)
    return _IDS if unit is None else int(_OVERLAP.total_seconds()) * unit


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
