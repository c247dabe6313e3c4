"""A SQL query on Postgres, MySQL or SQLite, read through DuckDB.

``location`` names the environment variable that holds the connection string: secrets do not belong
into a file that is committed. ``query`` reads from ``db.…`` and may use ``$watermark``, which is of
the type of the column that ``watermark`` names and at first less than all. Its greatest value is
remembered; the next night begins two days before it, for some commit late: ids tell what is known.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from decimal import Decimal

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
    rows = query(connection, source.query, watermark or "", source.watermark)
    newest: str | None = watermark
    if source.watermark and rows:
        if source.watermark not in rows[0]:
            raise ValueError(
                f"no column {source.watermark!r} for the watermark; there are: {', '.join(rows[0])}"
            )
        values = [row[source.watermark] for row in rows]
        newest = max((v for v in values if v is not None), default=None)
        newest = watermark if newest is None else _later(watermark, plain(newest))
    return Pulled(tuple(rows), watermark=newest)


def _later(watermark: str | None, newest: str) -> str:
    """The greater one: of a night that read only what was there before, the old one stays."""
    if not watermark:
        return newest
    try:
        return max(watermark, newest, key=Decimal)
    except ArithmeticError:
        return max(watermark, newest)
