"""A person looked for in every text of every table, after they were deleted."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from flywheel.privacy.byte_search import Sought
from flywheel.store.compaction import identifier
from flywheel.store.warehouse import Store

_BATCH_ROWS = 50_000
_ID_COLUMNS = ("customer_id", "rater_id", "group_id", "customers", "who")
_TEXT_COLUMNS = """
SELECT
    table_name,
    column_name,
    data_type
FROM duckdb_columns()
WHERE database_name = current_database() AND NOT internal
    AND data_type IN ('VARCHAR', 'JSON', 'VARCHAR[]')
ORDER BY table_name, column_index
"""


def mentions(
    store: Store, texts: Sequence[str], names: Sequence[str], *, in_ids: bool = False
) -> tuple[int, list[str]]:
    """Tables searched, and the ``table.column`` that hold a text, or a name as a whole value.

    With ``in_ids`` names are looked for in columns of people's ids only.
    """
    columns = store.rows(_TEXT_COLUMNS, {})
    sought = Sought(tuple(texts))
    found = []
    for table, column, kind in columns:
        held = f"held.{identifier(column)}"
        cell = f"unnest({held})" if kind.endswith("[]") else held
        values = f"FROM (SELECT {cell} AS value FROM {identifier(table)} AS held)"
        is_named = bool(names) and (not in_ids or column in _ID_COLUMNS)
        named = f"SELECT count(*) {values} WHERE value IN (SELECT unnest($names))"
        said = f"SELECT CAST(value AS VARCHAR) {values}"
        if (is_named and store.rows(named, {"names": list(names)})[0][0]) or (
            texts and _says(store, said, sought)
        ):
            found.append(f"{table}.{column}")
    return len({table for table, *_ in columns}), found


def _says(store: Store, query: str, sought: Sought) -> bool:
    """Whether one of the texts stands in a row of the query's only column."""
    for batch in store.con.execute(query).to_arrow_reader(_BATCH_ROWS):
        column = batch.column(0).drop_null()
        rows = pa.ListArray.from_arrays(pa.array([0, len(column)], pa.int32()), column)
        # a row's end is the end of a word
        if sought.is_in(pc.binary_join(rows, "\n")[0].as_buffer().to_pybytes()):
            return True
    return False
