"""What the company's own people said a text is, apart from what others said of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa

from flywheel.store.arrow_columns import incoming, strings
from flywheel.store.warehouse import Store

_OWN_LABELS = """
SELECT f.feedback_id, CASE WHEN f.kind = 'accept' THEN p.label ELSE f.value END
FROM feedback AS f
JOIN incoming AS i ON f.feedback_key = md5_number_lower(i.feedback_id)
LEFT JOIN predictions AS p ON p.use_case = f.use_case AND p.prediction_id = f.prediction_id
WHERE
    f.use_case = $use_case
    AND f.feedback_id = i.feedback_id
    AND f.kind IN ('accept', 'correct', 'label')
    AND list_contains($sources, f.source)
"""


# What a night had no place for in training, and what reactions by others left undecided.
_LEFT_OUT = """
SELECT
    f.feedback_id,
    d.reason,
    f.source,
    coalesce(p.text, f.text),
    coalesce(p.group_id, f.group_id),
    CASE WHEN f.kind = 'accept' THEN p.label WHEN f.kind <> 'reject' THEN f.value END
FROM consumed AS c
JOIN drops AS d ON d.use_case = c.use_case AND d.feedback_id = c.feedback_id
JOIN feedback AS f ON f.feedback_key = c.feedback_key AND f.feedback_id = c.feedback_id
LEFT JOIN predictions AS p ON p.use_case = f.use_case AND p.prediction_id = f.prediction_id
WHERE
    c.use_case = $use_case
    AND f.use_case = $use_case
    AND c.consumed_at > $started::TIMESTAMPTZ
    AND d.snapshot_id = $snapshot
    AND d.reason IN ('over_limit', 'copied', 'disagreement')
ORDER BY f.feedback_id
"""


@dataclass(frozen=True)
class LeftOut:
    """A reaction that came after a trial began and that no example was made of, and why."""

    feedback_id: str
    reason: str
    source: str
    text: str = field(repr=False)
    group_id: str
    label: str | None = field(repr=False)


def left_out(store: Store, use_case: str, *, snapshot: str, started: datetime) -> list[LeftOut]:
    """The reactions of this kind that ``snapshot`` left out, by id."""
    asked = {"use_case": use_case, "snapshot": snapshot, "started": started}
    return [LeftOut(*row) for row in store.rows(_LEFT_OUT, asked) if row[3] is not None]


def own_labels(
    store: Store, use_case: str, feedback_ids: Iterable[str], *, sources: Collection[str]
) -> dict[str, str]:
    """Feedback id → the label that one of ``sources`` gave in it."""
    wanted = pa.table({"feedback_id": strings(sorted(set(feedback_ids)))})
    with incoming(store.con, wanted):
        rows = store.rows(_OWN_LABELS, {"use_case": use_case, "sources": sorted(sources)})
    return {name: label for name, label in rows if label is not None}
