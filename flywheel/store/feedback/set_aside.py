"""Rows that nights set aside as unusual: they wait until a person has looked, and cost no place."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import pyarrow as pa

from flywheel.store.arrow_columns import incoming, strings
from flywheel.store.migrations import transaction
from flywheel.store.warehouse import Store

_OF_NIGHT = 'DELETE FROM set_aside WHERE use_case = $use_case AND "at" = $at'
_ADD = """
INSERT OR IGNORE INTO set_aside
SELECT $use_case, feedback_id, $at::TIMESTAMPTZ
FROM incoming
"""
_BEFORE = 'SELECT feedback_id FROM set_aside WHERE use_case = $use_case AND "at" < $at'
_RELEASE = "DELETE FROM set_aside WHERE use_case = $use_case"


def keep(store: Store, use_case: str, feedback_ids: Collection[str], *, at: datetime) -> None:
    """Keep what the night of ``at`` set aside, which may be less when it is lived again."""
    table = pa.table({"feedback_id": strings(sorted(feedback_ids))})
    with transaction(store.con), incoming(store.con, table):
        store.con.execute(_OF_NIGHT, {"use_case": use_case, "at": at})
        store.con.execute(_ADD, {"use_case": use_case, "at": at})


def before(store: Store, use_case: str, at: datetime) -> frozenset[str]:
    """Feedback ids that nights before ``at`` set aside, and nobody has looked at since."""
    rows = store.rows(_BEFORE, {"use_case": use_case, "at": at})
    return frozenset(name for (name,) in rows)


def release(store: Store, use_case: str) -> None:
    """Let the next night take them: somebody has looked."""
    with transaction(store.con):
        store.con.execute(_RELEASE, {"use_case": use_case})
