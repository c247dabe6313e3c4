"""From feedback to a frozen snapshot."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from datetime import datetime
from functools import partial

from prefect import task

from flywheel import (
    cold_start,
    curation,
    exam_budget,
    floods,
    prospects,
    snapshots,
    splits,
    unusual,
)
from flywheel.config import Home, UseCase
from flywheel.images import Images
from flywheel.records import Reason, Snapshot
from flywheel.store import changes, facts, open_store
from tasks import retry_if_transient
from tasks.unusual import changed, new_rows, require_usual, waiting

log = logging.getLogger(__name__)


@task(retries=3, retry_delay_seconds=2, retry_condition_fn=retry_if_transient)
def curate_snapshot(use_case: UseCase, home: Home, *, at: datetime) -> Snapshot:
    """Curate what is new, what was learned from before, and all gold; commit it as a snapshot.

    The same feedback, the same snapshot id.

    Raises:
        UnusualFeedback: what is new would change too much of what was learned from before; nothing
            was learned from it.
    """
    with open_store(home.warehouse) as store:
        reactions = store.reactions(
            use_case.name,
            gold_sources=use_case.curation.gold_sources,
            newest=use_case.curation.newest,
            replay=store.learned_from(use_case.name),
        )
        new = new_rows(store, use_case, reactions, at=at)
        waits, customers = waiting(store, use_case, reactions, new)
        reactions = [one for one in reactions if one.feedback_id not in waits]
        groups = {reaction.group_id for reaction in reactions}
        sides = splits.assign(
            groups,
            known=store.splits(use_case.name, groups),
            salt=use_case.split.salt,
            exam=use_case.split.exam,
            validation=use_case.split.validation,
        )
        curate = partial(
            curation.curate,
            splits=sides,
            labels=use_case.label_names,
            rules=use_case.curation,
            golden=[example.text for example in use_case.golden],
            images=Images(home.images) if use_case.sees else None,
        )
        curated = curate(reactions)
        change = changed(store, use_case, curated, reactions, new)
        others = unusual.without_strangers(reactions, new, use_case.curation)
        require_usual(
            store,
            use_case,
            change,
            anyway=lambda: changed(store, use_case, curate(others), others, new),
        )
        told = (
            floods.step(waits, customers, len(new)),
            unusual.step(change, use_case.curation),
        )
        curated = replace(curated, steps=(*curated.steps, *told))
        snapshot = snapshots.write(curated, home.snapshots)
        store.commit_snapshot(use_case.name, snapshot, curated, sides, at)
    dropped = Counter(drop.reason for drop in curated.drops)
    log.info(
        "curated %d of %d reactions into snapshot %s (dropped: %s)",
        len(reactions) - len(curated.drops),
        len(reactions),
        snapshot.snapshot_id[:12],
        ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items())) or "none",
    )
    return snapshot


def reason_to_skip(use_case: UseCase, home: Home, snapshot: Snapshot) -> Reason | None:
    """Why a night should end before it trains; None when it should not."""
    with open_store(home.warehouse) as store:
        standing = facts.standing(store, use_case, snapshot.snapshot_id)
        own = floods.own_sources(use_case.curation)
        since = changes.since_asked(store, use_case.name, own=own)
    reason = prospects.why_not_tonight(use_case, snapshot, standing)
    if reason is None and not standing.retrain_wanted:
        reason = exam_budget.spared(since, use_case.gate)
    if reason is None or reason.rule not in prospects.BY_SPLIT:
        return reason
    examples = snapshots.read(home.snapshots, snapshot.snapshot_id)
    said = cold_start.few_groups(use_case, examples)
    return reason if said is None else replace(reason, detail=f"{reason.detail}. {said}")
