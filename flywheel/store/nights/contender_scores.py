"""What contenders answered on the holdout, each row asked once, and how long they took."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pyarrow as pa

from flywheel.errors import DataError
from flywheel.store.arrow_columns import strings
from flywheel.store.arrow_values import as_json
from flywheel.store.migrations import transaction
from flywheel.store.warehouse import Store

_ADD_SCORES = "INSERT OR IGNORE INTO scores BY NAME SELECT * FROM incoming"
_SCORES = """
SELECT
    example_id,
    probabilities
FROM scores
WHERE use_case = ? AND digest = ?
ORDER BY example_id
"""
_LATENCY = "SELECT avg(latency_ms) FROM scores WHERE use_case = ? AND digest = ?"
_RUNTIMES = """
SELECT string_agg(DISTINCT runtime, ', ' ORDER BY runtime)
FROM scores
WHERE use_case = ? AND digest = ?
"""
_PEAK = "SELECT max(peak_memory_mb) FROM scores WHERE use_case = ? AND digest = ?"


def scores(store: Store, use_case: str, digest: str) -> dict[str, dict[str, float]]:
    """Example → label → probability, as this contender answered before."""
    rows = store.rows(_SCORES, [use_case, digest])
    return {example_id: json.loads(probabilities) for example_id, probabilities in rows}


def add(
    store: Store,
    use_case: str,
    digest: str,
    scores: Mapping[str, Mapping[str, float]],
    latency_ms: float,
    *,
    peak_memory_mb: float | None = None,
    runtime: str | None = None,
) -> None:
    """Keep a contender's answers, made at ``latency_ms`` per row; known ones stay.

    ``peak_memory_mb`` is that of the process which made them, on whatever machine, and ``runtime``
    what computed them there.
    """
    columns = {
        "example_id": strings(scores.keys()),
        "probabilities": strings(as_json(dict(row)) for row in scores.values()),
        "latency_ms": pa.array([latency_ms] * len(scores), pa.float64()),
        "peak_memory_mb": pa.array([peak_memory_mb] * len(scores), pa.float64()),
        "runtime": pa.array([runtime] * len(scores), pa.string()),
    }
    with transaction(store.con):
        store.insert(_ADD_SCORES, columns, use_case=use_case, digest=digest)


def latency_ms(store: Store, use_case: str, digest: str) -> float:
    """Mean milliseconds per row over this contender's answers.

    Raises:
        DataError: there are no answers of this contender.
    """
    mean = store.rows(_LATENCY, [use_case, digest])[0][0]
    if mean is None:
        raise DataError(f"{digest} has no scores in {use_case}; score it first.", digest=digest)
    return float(mean)


def peak_memory_mb(store: Store, use_case: str, digest: str) -> float | None:
    """The most that a process which asked this contender held; None where none told."""
    found: float | None = store.rows(_PEAK, [use_case, digest])[0][0]
    return found


def runtimes(store: Store, use_case: str, digest: str) -> str | None:
    """What computed this contender's answers, by name; None where none told."""
    found: str | None = store.rows(_RUNTIMES, [use_case, digest])[0][0]
    return found
