"""Let a night go on only where its feedback is usual, or a person looked at it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta

from flywheel.config import Home, UseCase
from flywheel.errors import UnusualFeedback
from flywheel.influence import row_caps, unusual_feedback
from flywheel.influence.unusual_feedback import Change
from flywheel.records import Curated, Reaction
from flywheel.store import Store, open_store
from flywheel.store.feedback import changes, labeling, set_aside
from flywheel.store.nights import fresh_rows


def new_rows(
    store: Store, use_case: UseCase, reactions: Sequence[Reaction], *, at: datetime
) -> frozenset[str]:
    """Feedback ids that no snapshot of before ``at`` has used or dropped."""
    names = [one.feedback_id for one in reactions]
    before = at - timedelta(microseconds=1)
    return frozenset(names) - fresh_rows.seen_before(store, use_case.name, names, started=before)


def waiting(
    store: Store, use_case: UseCase, reactions: Sequence[Reaction], new: Collection[str]
) -> tuple[frozenset[str], int]:
    """As `row_caps.waiting`; of what a company brings to its first night nothing waits."""
    if labeling.newest_snapshot(store, use_case.name) is None:
        return frozenset(), 0
    return row_caps.waiting(reactions, new, use_case.curation)


def changed(
    store: Store,
    use_case: UseCase,
    curated: Curated,
    reactions: Sequence[Reaction],
    new: Collection[str],
) -> Change | None:
    """What the night changes of the newest snapshot; None where there is none."""
    last = labeling.newest_snapshot(store, use_case.name)
    if last is None:
        return None
    before = changes.learned(store, use_case.name, last)
    return unusual_feedback.compare(
        before, curated, reactions, new, use_case.curation, writes=use_case.is_generation
    )


def is_unusual(
    store: Store, use_case: UseCase, change: Change | None, *, anyway: Callable[[], Change | None]
) -> bool:
    """Whether feedback changes more than it may, and no person looked at it.

    ``anyway`` tells what would change without it; it is asked only where so much does.
    """
    most = use_case.curation.max_change
    if change is None or most >= 1 or not change.beyond(most):
        return False
    last = labeling.newest_snapshot(store, use_case.name)
    if last is not None and changes.looked_at(store, use_case.name, last):
        return False
    without = anyway()
    return without is None or change.beyond(most, anyway=without.affected)


def refusal(use_case: UseCase, change: Change) -> UnusualFeedback:
    """Why such a night ends, and what a person can do."""
    name, most = use_case.name, use_case.curation.max_change
    return UnusualFeedback(
        f"Unusual feedback: it would take away or turn round {change.share:.0%} of what was "
        f"learned from before, and {most:.0%} may be (curation.max_change). Tonight: "
        f"{unusual_feedback.in_words(change)}. Nothing was learned from it, and nothing was "
        "promoted. "
        f"Who sent it: flywheel doctor -u {name}. If one of them should have no say: flywheel "
        "forget CUSTOMER --yes. If it may be learned from, or a setting or a release did it: "
        f"flywheel night -u {name} --looked."
    )


def go_on(use_case: UseCase, home: Home, *, at: datetime, who: str) -> None:
    """Let the next night learn from what waits or was set aside, however much it changes."""
    with open_store(home.warehouse) as store:
        last = labeling.newest_snapshot(store, use_case.name)
        if last is not None:
            changes.look_at(store, use_case.name, last, at=at, who=who)
            set_aside.release(store, use_case.name)
