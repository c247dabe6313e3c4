"""Labels that came back from queues: which of them are audits, and which are not."""

from __future__ import annotations

from dataclasses import dataclass

from flywheel.store.nights.fresh_rows import drawn
from flywheel.store.warehouse import Store
from flywheel.text.normalize import text_id

_AUDITED = """
SELECT text
FROM feedback
WHERE use_case = $use_case AND kind = 'label' AND source = 'audit' AND text IS NOT NULL
"""
_CHOSEN = """
SELECT count(*)
FROM feedback
WHERE use_case = $use_case AND kind = 'label' AND source = 'queue' AND text IS NOT NULL
"""


@dataclass(frozen=True)
class QueueLabels:
    """Labels from queues. ``undrawn`` are those of the ``audits`` whose draw is not on record here.

    ``chosen`` are no audits: the queue picked them, so that they say nothing about the whole.
    """

    audits: int
    undrawn: int
    chosen: int

    def since(self, before: QueueLabels) -> QueueLabels:
        """What came in after ``before``."""
        return QueueLabels(
            self.audits - before.audits, self.undrawn - before.undrawn, self.chosen - before.chosen
        )


NO_LABELS = QueueLabels(0, 0, 0)


def queue_labels(store: Store, use_case: str) -> QueueLabels:
    """How many labels of queues are in the warehouse."""
    here = {"use_case": use_case}
    ids = [text_id(text) for (text,) in store.rows(_AUDITED, here)]
    known = drawn(store, use_case, ids)
    ((chosen,),) = store.rows(_CHOSEN, here)
    return QueueLabels(len(ids), sum(one not in known for one in ids), chosen)


def line(found: QueueLabels) -> str:
    """How many became audits, how many did not, and why; empty where none came from a queue."""
    if not found.audits + found.chosen:
        return ""
    told = f"labels from queues: {found.audits} audits"
    if found.chosen:
        told += f", {found.chosen} no audits (the queue chose them; they were not drawn at random)"
    if found.undrawn:
        told += (
            f"; {found.undrawn} of the audits have no draw on record (their text was changed, or "
            "the queue is another home's) and count unweighted"
        )
    return told
