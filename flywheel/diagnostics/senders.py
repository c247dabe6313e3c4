"""Who sent the feedback that a night refused as unusual, for the person who looks at it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from flywheel.config import Home, UseCase
from flywheel.errors import UnusualFeedback
from flywheel.influence import unusual_feedback
from flywheel.influence.row_caps import own_sources
from flywheel.records import NightRecord
from flywheel.records.findings import Finding
from flywheel.store import open_store
from flywheel.store.feedback import changes, labeling
from flywheel.store.nights import night_runs

SHOWN = 10
"""Customers, sources and labels that are shown at most."""


def finding(use_case: UseCase, home: Home) -> list[Finding]:
    """What the last night refused or set aside, and who sent it; nothing where it did neither."""
    if not home.warehouse.exists():
        return []
    with open_store(home.warehouse, read_only=True) as store:
        nights = night_runs.nights(store, use_case.name)
        last = labeling.newest_snapshot(store, use_case.name)
        if not nights or last is None:
            return []
        steps = {step.rule: step for step in store.steps(use_case.name, last)}
        aside = steps.get(unusual_feedback.ASIDE)
        refused = _refused(nights[-1])
        if not refused and not (aside and aside.changed):
            return []
        rows = changes.unseen(store, use_case.name)
        goes_on = changes.looked_at(store, use_case.name, last)
    own = own_sources(use_case.curation)
    strangers = [(who, value, n) for who, source, value, n in rows if source not in own]
    customers = _most((who or "none named", n) for who, _, n in strangers)
    labels = _most((value or "", n) for _, value, n in strangers if value in use_case.labels)
    did = (
        "refused what came since the last snapshot"
        if refused
        else f"set {aside.changed if aside else 0} rows aside and learned from the others"
    )
    waiting = sum(n for *_, n in strangers)
    detail = (
        f"the night of {nights[-1].as_of:%Y-%m-%d %H:%M} UTC {did}; of {waiting:,} rows that "
        f"wait and are not your own people's, by customer: {customers}; by label: {labels}. "
    )
    name = use_case.name
    detail += (
        "The next night goes on, as somebody looked"
        if goes_on
        else f"If it may be learned from: flywheel night -u {name} --looked. If one of them should "
        "have no say: flywheel forget CUSTOMER --yes"
    )
    return [Finding("unusual feedback", goes_on, detail)]


def _refused(night: NightRecord) -> bool:
    return night.failed and any(
        reason.detail.startswith(UnusualFeedback.__name__) for reason in night.reasons
    )


def _most(counted: Iterable[tuple[str, int]]) -> str:
    found: Counter[str] = Counter()
    for name, count in counted:
        found[name] += count
    shown = [f"{name} {count:,}" for name, count in found.most_common(SHOWN)]
    more = [f"{len(found) - SHOWN:,} more"] * (len(found) > SHOWN)
    return ", ".join([*shown, *more]) or "none"
