"""From feedback to a frozen snapshot."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from prefect import task

from flywheel import curation
from flywheel.config import Home, UseCase
from flywheel.dataset import image_duplicates, snapshots, splits
from flywheel.dataset.images import Images
from flywheel.diagnostics import backlog
from flywheel.gate import cold_start, holdout_budget, power
from flywheel.influence import row_caps, unusual_feedback
from flywheel.influence.unusual_feedback import Change
from flywheel.records import Curated, Example, Reaction, Reason, Snapshot, Split, Step
from flywheel.store import Store, open_store
from flywheel.store.feedback import changes, feedback_counts, set_aside
from flywheel.store.feedback import waiting_rows as backlog_store
from tasks import retry_if_transient
from tasks.unusual_feedback import changed, is_unusual, new_rows, refusal, waiting

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Came:
    """What a night works on: ``reactions`` without those that wait, and how to curate them.

    ``new`` are the feedback ids that no snapshot has seen, ``waits`` those of them that a later
    night takes, of ``customers`` customers; ``sides`` is group → split. ``aside`` is set aside
    tonight, and as many as ``before`` were by nights before; these wait for a person.
    """

    reactions: list[Reaction] = field(repr=False)
    new: frozenset[str]
    waits: frozenset[str]
    customers: int
    before: int
    sides: dict[str, Split]
    curate: Callable[[Sequence[Reaction]], Curated]
    aside: frozenset[str] = frozenset()


def _reactions(store: Store, use_case: UseCase) -> list[Reaction]:
    return store.reactions(
        use_case.name,
        gold_sources=use_case.curation.gold_sources,
        newest=use_case.curation.newest,
        replay=store.learned_from(use_case.name),
    )


def _look_at_pictures(use_case: UseCase, home: Home) -> None:
    """Look at the pictures that will be compared while others may have the warehouse."""
    if use_case.is_image:
        with open_store(home.warehouse) as store:
            addresses = {reaction.text for reaction in _reactions(store, use_case)}
        image_duplicates.look_at(sorted(addresses), Images(home.images))


def _came(store: Store, use_case: UseCase, home: Home, *, at: datetime) -> _Came:
    reactions = _reactions(store, use_case)
    aside = set_aside.before(store, use_case.name, at)
    reactions = [one for one in reactions if one.feedback_id not in aside]
    new = new_rows(store, use_case, reactions, at=at)
    waits, customers = waiting(store, use_case, reactions, new)
    reactions = [one for one in reactions if one.feedback_id not in waits]
    groups = {reaction.group_id for reaction in reactions}
    sides = splits.assign_by(use_case.split, groups, known=store.splits(use_case.name, groups))
    curate = partial(
        curation.curate,
        splits=sides,
        labels=use_case.label_names,
        rules=use_case.curation,
        golden=[example.text for example in use_case.golden],
        images=Images(home.images) if use_case.is_image else None,
    )
    return _Came(reactions, new, waits, customers, len(aside), sides, curate)


def _usual(
    store: Store, use_case: UseCase, came: _Came
) -> tuple[_Came, Curated, Change | None, Step]:
    """What the night learns from: all that came, or that without whose rows alone are unusual.

    Raises:
        UnusualFeedback: it is more than one customer's or rater's doing.
    """
    name = use_case.name
    curated, change, refused = _judged(store, use_case, came)
    if change is None or not refused:
        return (
            came,
            curated,
            change,
            unusual_feedback.aside_step((), name, None, before=came.before),
        )
    for aside in unusual_feedback.suspected(curated, came.reactions, came.new, use_case.curation):
        rest = [one for one in came.reactions if one.feedback_id not in aside]
        quiet = replace(came, reactions=rest, aside=aside)
        calm, after, refused = _judged(store, use_case, quiet)
        if not refused:
            told = unusual_feedback.aside_step(aside, name, change, before=came.before)
            return quiet, calm, after, told
    raise refusal(use_case, change)


def _judged(store: Store, use_case: UseCase, came: _Came) -> tuple[Curated, Change | None, bool]:
    """The examples, what they change of what was learned before, and whether that is unusual."""
    curated = came.curate(came.reactions)
    change = changed(store, use_case, curated, came.reactions, came.new)
    others = unusual_feedback.without_strangers(came.reactions, came.new, use_case.curation)

    def anyway() -> Change | None:
        return changed(store, use_case, came.curate(others), others, came.new)

    return curated, change, is_unusual(store, use_case, change, anyway=anyway)


def _beyond(store: Store, use_case: UseCase) -> int:
    rules = use_case.curation
    return backlog_store.beyond(
        store, use_case.name, gold_sources=rules.gold_sources, newest=rules.newest
    )


def unlearned_examples(use_case: UseCase, home: Home, *, at: datetime) -> tuple[Example, ...]:
    """The examples of a night that takes no snapshot: nothing of them is kept."""
    with open_store(home.warehouse) as store:
        came = _came(store, use_case, home, at=at)
    return came.curate(came.reactions).examples


@task(
    task_run_name="curate",
    retries=3,
    retry_delay_seconds=2,
    retry_condition_fn=retry_if_transient,
)
def curate_snapshot(use_case: UseCase, home: Home, *, at: datetime) -> Snapshot:
    """Curate what is new, what was learned from before, and all gold; commit it as a snapshot.

    The same feedback, the same snapshot id.

    Raises:
        UnusualFeedback: what is new would change too much of what was learned from before; nothing
            was learned from it.
    """
    _look_at_pictures(use_case, home)
    with open_store(home.warehouse) as store:
        came, curated, change, aside = _usual(store, use_case, _came(store, use_case, home, at=at))
        told = (
            row_caps.step(came.waits, came.customers, len(came.new)),
            unusual_feedback.step(change, use_case.curation),
            aside,
            backlog.step(_beyond(store, use_case), use_case.curation),
        )
        curated = replace(curated, steps=(*curated.steps, *told))
        snapshot = snapshots.write(curated, home.snapshots)
        store.commit_snapshot(use_case.name, snapshot, curated, came.sides, at)
        set_aside.keep(store, use_case.name, came.aside, at=at)
    dropped = Counter(drop.reason for drop in curated.drops)
    log.info(
        "curated %d of %d reactions into snapshot %s (dropped: %s)",
        len(came.reactions) - len(curated.drops),
        len(came.reactions),
        snapshot.snapshot_id[:12],
        ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items())) or "none",
    )
    return snapshot


def reason_to_skip(use_case: UseCase, home: Home, snapshot: Snapshot) -> Reason | None:
    """Why a night should end before it trains; None when it should not."""
    with open_store(home.warehouse) as store:
        standing = feedback_counts.standing(store, use_case, snapshot.snapshot_id)
        own = row_caps.own_sources(use_case.curation)
        since = changes.since_asked(store, use_case.name, own=own)
    reason = power.why_not_tonight(use_case, snapshot, standing)
    if reason is None and not standing.retrain_wanted:
        reason = holdout_budget.spared(since, use_case.gate)
    if reason is None or reason.rule not in power.BY_SPLIT:
        return reason
    examples = snapshots.read(home.snapshots, snapshot.snapshot_id)
    said = cold_start.few_groups(use_case, examples)
    return reason if said is None else replace(reason, detail=f"{reason.detail}. {said}")
