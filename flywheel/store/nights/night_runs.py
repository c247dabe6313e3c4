"""How each night ended, and whether one must train because somebody was forgotten."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from flywheel.records import NightRecord, Reason
from flywheel.store.arrow_columns import from_us
from flywheel.store.arrow_values import as_json
from flywheel.store.migrations import transaction
from flywheel.store.warehouse import Store

_NIGHTS = """
SELECT
    epoch_us(as_of),
    outcome,
    reasons,
    facts,
    snapshot_id,
    digest,
    epoch_us(recorded_at)
FROM nights
WHERE use_case = ?
ORDER BY as_of
"""
_FIRST_FEEDBACK = "SELECT epoch_us(min(ingested_at)) FROM feedback WHERE use_case = ?"
_RECORD_NIGHT = "INSERT OR REPLACE INTO nights VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_RETRAIN_WANTED = "SELECT count(*) FROM retrains WHERE use_case = ? AND landed_in IS NULL"
_RETRAIN_LANDED = "UPDATE retrains SET landed_in = ? WHERE use_case = ? AND landed_in IS NULL"


def record(store: Store, use_case: str, night: NightRecord) -> None:
    """Write down how a night ended; a later record of the same night replaces it.

    ``recorded_at`` is now, unless the record says when.
    """
    row = [
        use_case,
        night.as_of,
        night.outcome,
        as_json([asdict(reason) for reason in night.reasons]),
        as_json(dict(night.facts)),
        night.snapshot_id,
        night.digest,
        night.recorded_at or datetime.now(UTC),
    ]
    with transaction(store.con):
        store.con.execute(_RECORD_NIGHT, row)
        if night.digest is not None:
            store.con.execute(_RETRAIN_LANDED, [night.as_of, use_case])


def retrain_wanted(store: Store, use_case: str) -> bool:
    """Whether somebody was forgotten and no night has trained without them since."""
    return bool(store.rows(_RETRAIN_WANTED, [use_case])[0][0])


def first_feedback(store: Store, use_case: str) -> datetime | None:
    """When the first feedback came in; None while there is none."""
    first = store.rows(_FIRST_FEEDBACK, [use_case])[0][0]
    return None if first is None else from_us(first)


def nights(store: Store, use_case: str) -> list[NightRecord]:
    """Every night on record, the newest last."""
    return [
        NightRecord(
            as_of=from_us(as_of_us),
            outcome=outcome,
            reasons=tuple(_reason(one) for one in json.loads(reasons)),
            facts=json.loads(facts),
            snapshot_id=snapshot_id,
            digest=digest,
            recorded_at=from_us(recorded_us),
        )
        for (
            as_of_us,
            outcome,
            reasons,
            facts,
            snapshot_id,
            digest,
            recorded_us,
        ) in store.rows(_NIGHTS, [use_case])
    ]


def _reason(told: Mapping[str, Any]) -> Reason:
    return Reason(told["rule"], told.get("passed"), told["detail"], told.get("on", True))
