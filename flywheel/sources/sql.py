"""A SQL query on Postgres, MySQL or SQLite, read through DuckDB.

``location`` names the environment variable that holds the connection string: secrets do not belong
into a file that is committed. ``query`` reads from ``db.…`` and may use ``$watermark``, an empty
string at first; ``watermark`` names the column whose greatest value is the next one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from flywheel.config import SourceConfig
from flywheel.sources.base import Pulled
from flywheel.sources.mapping import plain
from flywheel.store.external_tables import query


def read(source: SourceConfig, watermark: str | None, labels: Sequence[str]) -> Pulled:
    """The rows that the query gives."""
    connection = os.environ.get(source.location)
    if connection is None:
        raise ValueError(f"the environment has no variable {source.location}")
    if not source.query:
        raise ValueError("a sql source needs a query")
    rows = query(connection, source.query, watermark or "")
    newest = watermark
    if source.watermark and rows:
        if source.watermark not in rows[0]:
            raise ValueError(
                f"no column {source.watermark!r} for the watermark; there are: {', '.join(rows[0])}"
            )
        newest = max(plain(row[source.watermark]) for row in rows)
    return Pulled(tuple(rows), watermark=newest)
