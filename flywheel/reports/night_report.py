"""What a night's page is made of: the contract between the tasks that write it and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

Section = Mapping[str, Any]
"""JSON values by name, made by `flywheel.reports.night_facts`; None in it was not measured."""


class NightReport(TypedDict, total=False):
    """JSON-able. Shares and gains are in [0, 1] and [-1, 1].

    What is missing, None or no finite number is called not measured.
    """

    # of the record
    use_case: str
    as_of: str
    outcome: str
    reasons: Sequence[Section]
    version: str | None
    digest: str | None
    snapshot_id: str | None
    feedback_read: int
    holdout_worn: bool
    # of the use case
    description: str
    items: str
    """What it answers on, such as "reviews"."""
    labels: Sequence[str]
    # what was measured
    champion_version: str | None
    """Before tonight."""
    holdout: Section
    confusion: Section
    reliability: Section | None
    slices: Sequence[Section] | None
    evidence: Section | None
    """Its ``log_wealth`` of a night is that after the night."""
    evidence_beside: Section | None
    """The same of a challenger that was on trial and not before the gate."""
    ledger: Section
    changed: Section | None
    cost: Section
    data: Section
    queue: Sequence[Section]
    live: Sequence[Section]
    """Oldest first."""
    history: Sequence[Section]
    """Oldest first."""
    untold: Sequence[str]
    """Who could not be notified, in sentences."""
    failure: Section
    """Of a failed night: ``state``, lines; ``next``; ``moved``, a version or None."""
