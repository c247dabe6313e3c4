"""Which texts, and addresses of pictures, the warehouse names."""

from __future__ import annotations

from collections.abc import Collection

from flywheel.store.warehouse import Store

_NAMED = """
SELECT DISTINCT text
FROM (
    SELECT use_case, text FROM feedback
    UNION ALL
    SELECT use_case, text FROM predictions
)
WHERE NOT list_contains($besides::VARCHAR[], use_case)
    AND text IN (SELECT unnest($texts::VARCHAR[]))
"""


def named(store: Store, texts: Collection[str], *, besides: Collection[str] = ()) -> set[str]:
    """Those of ``texts`` that a row of any use case but ``besides`` is about."""
    asked = {"texts": sorted(texts), "besides": sorted(besides)}
    return {text for (text,) in store.rows(_NAMED, asked)}
