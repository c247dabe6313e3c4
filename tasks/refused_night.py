"""Watch the champion also in a night that refuses its feedback: the brake protects its users."""

from __future__ import annotations

from datetime import datetime

from prefect import task

from flywheel.config import Home, UseCase
from flywheel.records import Reason, Snapshot
from flywheel.store import open_store
from flywheel.store.feedback import changes, labeling
from tasks.champion.auto_rollback import watch
from tasks.curate import unlearned_examples


@task(timeout_seconds=6 * 3_600)
def watch_refused_night(use_case: UseCase, home: Home, *, at: datetime) -> Reason | None:
    """As `tasks.champion.auto_rollback.watch_champion`, on what came tonight, of which no snapshot
    is taken.

    Whoever sent what is unusual could else keep the brake off, night after night, until a person
    looks. The brake takes nobody's word alone (`flywheel.influence.quorum`), tonight as always.
    """
    with open_store(home.warehouse) as store:
        last = labeling.newest_snapshot(store, use_case.name)
        train = len(changes.learned(store, use_case.name, last)) if last else 0
    if last is None:
        return None
    snapshot = Snapshot(last, train=train, validation=0, exam=0)
    return watch(use_case, home, snapshot, unlearned_examples(use_case, home, at=at), at=at)
