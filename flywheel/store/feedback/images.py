"""Which pictures the warehouse names."""

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
    AND text IN (SELECT unnest($addresses::VARCHAR[]))
"""


def named(store: Store, addresses: Collection[str], *, besides: Collection[str] = ()) -> set[str]:
    """Those of ``addresses`` that a row of any use case but ``besides`` is about."""
    asked = {"addresses": sorted(addresses), "besides": sorted(besides)}
    return {address for (address,) in store.rows(_NAMED, asked)}
