"""Watch the champion also in a night that refuses its feedback: the brake protects its users."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from prefect import task

from flywheel.config import Home, UseCase
from flywheel.errors import FlywheelError
from flywheel.records import Reason, Snapshot
from flywheel.store import open_store
from flywheel.store.feedback import changes, labeling
from tasks.champion.auto_rollback import watch
from tasks.curate import unlearned_examples

log = logging.getLogger(__name__)


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
    snapshot = Snapshot(last, train=train, validation=0, holdout=0)
    return watch(use_case, home, snapshot, unlearned_examples(use_case, home, at=at), at=at)


def told_whatever_fails(brake: Callable[[], Reason | None]) -> Reason | None:
    """What ``brake`` found; that it could not be asked does not hide why the night ends.

    Two models that do not fit into memory are no reason to say nothing of the feedback. Only errors
    raised on purpose are quoted: any other message may hold a customer's text. What nobody expected
    is raised: the record of the night then holds both (`tasks.failure`).
    """
    try:
        return brake()
    except (FlywheelError, MemoryError, OSError, RuntimeError) as error:
        log.warning("the champion was not watched: %s", type(error).__name__)
        ours = isinstance(error, FlywheelError)
        said = str(error) if ours else f"{type(error).__name__}; see the traceback in the log"
        return Reason("brake", None, f"the champion was not watched tonight: {said}")
