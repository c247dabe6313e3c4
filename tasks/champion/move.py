"""Move the champion alias and write down who did, when and why, so that a kill leaves no gap.

MLflow and the warehouse share no transaction. So the intention is tagged on the version first,
then the alias moves, then the log is written, then the tag goes. `flywheel.store.nights.promotions`
says who the champion should be, the alias says who it is; `tasks.champion.reconcile` brings them
together.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from datetime import datetime

from flywheel.config import Home, UseCase
from flywheel.errors import ChampionMoved
from flywheel.records import Action, Promotion
from flywheel.store import open_store
from flywheel.store.nights import night_runs
from flywheel.store.nights.promotions import add_promotion, promotions
from flywheel.tracking.champion_history import told_by_nights
from flywheel.tracking.registry import CHAMPION, Registry
from flywheel.tracking.version_tags import MOVING, NO_CHAMPION, VersionTags
from flywheel.tracking.versions import Version
from tasks.champion import trusted_versions
from tasks.verify import check_measured

log = logging.getLogger(__name__)

GOING_BACK = ("rolled_back", "braked", "restored", "remeasured")
"""Steps to weights that were champion before."""


def promote_over(
    use_case: UseCase,
    home: Home,
    version: Version,
    *,
    against: str | None,
    at: datetime,
    action: Action,
    who: str,
    why: str,
) -> Promotion | None:
    """Make ``version`` champion in the place of ``against``; None when that was done before.

    The caller holds `tasks.coordination.locks.moving_champion`.

    Raises:
        ChampionMoved: the champion is another one than ``against`` by now. Nothing was moved.
        DigestMismatch: the version is not what was measured. Nothing was moved.
    """
    log_of = champions(home, use_case.name)
    if any(p.action == action and p.version == version.version and p.at == at for p in log_of):
        # a night that is lived again: whatever became of the champion since came later
        Registry(home).untag(version.name, version.version, MOVING)
        return None
    recorded = log_of[-1].version if log_of else None
    holder = Registry(home).champion(version.name)
    if recorded == holder == version.version:
        return None
    # an alias that was deleted stands where the log says; an old home has no log yet
    if (log_of and recorded != against) or holder not in (None, against, version.version):
        found = holder if recorded == against else recorded
        raise ChampionMoved(
            f"{version.name} version {version.version} was compared with version "
            f"{against or NO_CHAMPION}, but the champion is version {found} by now. Nothing was "
            "moved; the next night compares with that one.",
            against=against,
            found=found,
        )
    check_measured(use_case, home, version, as_written=action not in GOING_BACK)
    trusted_versions.confirm(home, version, at=at)
    step = Promotion(at, action, version.version, version.digest, against, who, why)
    make_champion(home, version, step)
    return step


def make_champion(home: Home, version: Version, step: Promotion) -> None:
    """Point the alias at ``version`` and record ``step``; the caller holds the lock."""
    registry = Registry(home)
    registry.tag(version.name, version.version, VersionTags(moving=_as_tag(step)).written())
    registry.set_alias(version, CHAMPION)
    record(home, version.name, step)
    registry.untag(version.name, version.version, MOVING)
    log.info(
        "%s: version %s is champion, %s by %s", version.name, version.version, step.action, step.who
    )


def record(home: Home, use_case: str, step: Promotion) -> None:
    """Write a change of the champion down, once."""
    with open_store(home.warehouse) as store:
        before = (
            []
            if promotions(store, use_case)
            else told_by_nights(night_runs.nights(store, use_case))
        )
        for one in (*before, step):
            add_promotion(store, use_case, one)


def champions(home: Home, use_case: str) -> list[Promotion]:
    """Every change of the champion, the oldest first.

    A home from before they were recorded has what its nights say, until the first is recorded.
    """
    with open_store(home.warehouse, read_only=True) as store:
        return promotions(store, use_case) or told_by_nights(night_runs.nights(store, use_case))


def intention(tag: str | None) -> Promotion | None:
    """The step that a version was on the way to when it was killed, from its tag."""
    if not tag:
        return None
    facts = json.loads(tag)
    return Promotion(**{**facts, "at": datetime.fromisoformat(facts["at"])})


def _as_tag(step: Promotion) -> str:
    return json.dumps({**asdict(step), "at": step.at.isoformat()})
