"""Nights are lived in the order of their times."""

from __future__ import annotations

from datetime import datetime

from flywheel.config import Home, UseCase
from flywheel.errors import NightOutOfOrder
from flywheel.store import open_store
from flywheel.store.nights import night_runs


def require_in_order(use_case: UseCase, home: Home, *, at: datetime) -> None:
    """Refuse a night that is older than what is on record.

    It would learn from what came after it, and would change what is recorded of the version that
    later nights have judged. A night that failed is lived again, unless a later one has ended: that
    one has done its work.

    Raises:
        NightOutOfOrder: it is older than a night that is on record, or than all feedback.
    """
    with open_store(home.warehouse) as store:
        nights = night_runs.nights(store, use_case.name)
        first = night_runs.first_feedback(store, use_case.name)
    again = any(night.as_of == at for night in nights)
    later = [n.as_of for n in nights if not (again and n.failed)]
    newest = max(later, default=at)
    if newest > at:
        raise NightOutOfOrder(_refused(use_case, at, f"the night of {_said(newest)} is on record"))
    # a night's time is in whole seconds
    if first is not None and first.replace(microsecond=0) > at:
        raise NightOutOfOrder(_refused(use_case, at, f"the first feedback came at {_said(first)}"))


def _refused(use_case: UseCase, at: datetime, why: str) -> str:
    return (
        f"{use_case.name} cannot live the night of {_said(at)}, because {why}; nothing was "
        f"changed: flywheel night -u {use_case.name} takes an --as-of after that"
    )


def _said(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
