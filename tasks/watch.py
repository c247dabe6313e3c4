"""Look whether a night should start before its time, and say why."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from flywheel.config import Home, UseCase
from flywheel.errors import StoreBusy
from flywheel.evaluation import drift
from flywheel.influence.row_caps import own_sources
from flywheel.store import open_store
from flywheel.store.feedback import since_night
from flywheel.store.nights import night_runs
from flywheel.store.nights.promotions import promotions
from flywheel.store.warehouse import Store
from tasks.coordination.locks import between_nights
from tasks.ingest import ingest_inbox

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Early:
    """Why a night should start now. ``once`` is the same as long as it would start one again."""

    why: Literal["new_feedback", "fewer_accepted"]
    detail: str
    once: str


def reason_to_start(use_case: UseCase, home: Home, *, at: datetime) -> Early | None:
    """Take the inbox in, and look; None where the night may wait, or one is running already.

    Raises:
        StoreBusy: the warehouse was held for too long.
    """
    if use_case.watch.minutes is None:
        return None
    try:
        with between_nights(home, use_case.name):
            ingest_inbox(use_case, home, at=at)
            with open_store(home.warehouse, read_only=True) as store:
                return _enough_feedback(store, use_case) or _fewer_accepted(store, use_case)
    except StoreBusy as busy:
        log.info("%s was not looked at: %s", use_case.name, busy)
        return None


def _enough_feedback(store: Store, use_case: UseCase) -> Early | None:
    wanted, rules = use_case.watch.new_feedback, use_case.curation
    if wanted is None:
        return None
    last = since_night.last_night(store, use_case.name)
    usable = since_night.usable(
        store,
        use_case.name,
        since=last,
        own=own_sources(rules),
        most=rules.max_customer_rows,
    )
    log.info("%d usable rows of %s came since the last night", usable, use_case.name)
    if usable < wanted:
        return None
    start = last or night_runs.first_feedback(store, use_case.name)
    return Early(
        "new_feedback",
        f"{usable:,} usable rows came since the last night (watch.new_feedback: {wanted:,})",
        f"after {start:%Y-%m-%dT%H:%M:%S}",
    )


def _fewer_accepted(store: Store, use_case: UseCase) -> Early | None:
    by = use_case.watch.fewer_accepted
    moves = promotions(store, use_case.name)
    if by is None or not moves:
        return None
    version = moves[-1].version
    fates = since_night.fates(store, use_case.name, version)
    found = drift.fall(fates.before, fates.since, by=by)
    if found is None:
        return None
    return Early(
        "fewer_accepted",
        f"of the champion's answers {found.since:.0%} were accepted since the last night "
        f"({found.reactions_since:,} reactions) and {found.before:.0%} before "
        f"({found.reactions_before:,}); watch.fewer_accepted: {by:g}",
        f"version {version} of {moves[-1].at:%Y-%m-%dT%H:%M:%S}",
    )
