"""What there is to label: texts that were answered or reacted to and that nobody trusted labeled.

Bounded by ``newest``, so that a queue costs no more when the history is long.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import pyarrow as pa

from flywheel.ingestion.labeling_queue import Candidate, Item
from flywheel.store import snapshot_order
from flywheel.store.arrow_columns import from_us, incoming, strings
from flywheel.store.migrations import transaction
from flywheel.store.warehouse import Store

NEWEST = 100_000
MOST_DRAWS = 30
"""Draws that are looked back to; before them all texts are one."""

_ANSWERED = """
SELECT text, group_id, label, probabilities, customer_id, epoch_us(predicted_at)
FROM predictions
WHERE use_case = $use_case
ORDER BY predicted_at DESC, prediction_id
LIMIT $newest
"""
_REACTED = """
SELECT text, group_id, source, customer_id, epoch_us(ingested_at)
FROM feedback
WHERE use_case = $use_case AND text IS NOT NULL
ORDER BY seq DESC NULLS LAST
LIMIT $newest
"""
_DISPUTED = """
SELECT DISTINCT coalesce(p.text, f.text)
FROM drops AS d
JOIN feedback AS f ON f.use_case = d.use_case AND f.feedback_id = d.feedback_id
LEFT JOIN predictions AS p
    ON p.use_case = f.use_case AND p.prediction_id = f.prediction_id
WHERE
    d.use_case = $use_case
    AND d.snapshot_id = $snapshot
    AND d.reason = 'disagreement'
"""
_SUSPECTS = "SELECT example_id, score FROM suspects WHERE use_case = ? AND snapshot_id = ?"
_DRAWS = """
SELECT DISTINCT epoch_us(sampled_at) AS drawn
FROM audits
WHERE use_case = $use_case
ORDER BY drawn DESC
LIMIT $most
"""
_ADD_AUDITS = """
INSERT OR IGNORE INTO audits
SELECT $use_case, item_id, $at::TIMESTAMPTZ, probability
FROM incoming
"""


def candidates(
    store: Store, use_case: str, *, trusted: Sequence[str]
) -> tuple[list[Candidate], set[str]]:
    """Texts with their newest answer, and the texts that ``trusted`` sources have labeled.

    A text's group and customer are those of who asked it first: repeating others' texts makes them
    nobody's own. Those that were answered come first, the newest at the head.
    """
    here = {"use_case": use_case, "newest": NEWEST}
    reacted = store.rows(_REACTED, here)
    done = {text for text, _, source, _, _ in reacted if source in trusted}
    found: dict[str, Candidate] = {}
    for text, group_id, label, probabilities, who, at_us in store.rows(_ANSWERED, here):
        if text in found:
            found[text] = replace(found[text], group_id=group_id, customer=who)
        else:
            spread, at = json.loads(probabilities), from_us(at_us)
            found[text] = Candidate(text, group_id, label, spread, customer=who, asked_at=at)
    answered = set(found)
    for text, group_id, _, who, at_us in reacted:
        if text not in answered:
            found[text] = Candidate(text, group_id, customer=who, asked_at=from_us(at_us))
    return list(found.values()), done


def draws(store: Store, use_case: str) -> list[datetime]:
    """When audits were drawn, the newest first; no more than `MOST_DRAWS`."""
    asked = {"use_case": use_case, "most": MOST_DRAWS}
    return [from_us(drawn) for (drawn,) in store.rows(_DRAWS, asked)]


def disputed(store: Store, use_case: str) -> set[str]:
    """Texts on which the raters of the newest snapshot disagree."""
    snapshot = _newest(store, use_case)
    here = {"use_case": use_case, "snapshot": snapshot}
    return {text for (text,) in store.rows(_DISPUTED, here) if text} if snapshot else set()


def suspects(store: Store, use_case: str) -> dict[str, float]:
    """Example id → score, of the newest snapshot's labels that are probably wrong."""
    snapshot = _newest(store, use_case)
    return dict(store.rows(_SUSPECTS, [use_case, snapshot])) if snapshot else {}


def newest_snapshot(store: Store, use_case: str) -> str | None:
    """The id of the newest snapshot, None before the first night."""
    return _newest(store, use_case)


def add_audits(store: Store, use_case: str, items: Sequence[Item], at: datetime) -> None:
    """Keep how likely each audit was to be drawn; a text drawn before keeps its first draw."""
    drawn = [item for item in items if item.probability is not None]
    table = pa.table(
        {
            "item_id": strings(item.item_id for item in drawn),
            "probability": pa.array([item.probability for item in drawn], pa.float64()),
        }
    )
    with transaction(store.con), incoming(store.con, table):
        store.con.execute(_ADD_AUDITS, {"use_case": use_case, "at": at})


def _newest(store: Store, use_case: str) -> str | None:
    rows = store.rows(snapshot_order.NEWEST, {"use_case": use_case})
    return rows[0][0] if rows else None
