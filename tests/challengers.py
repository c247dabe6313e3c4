"""A challenger that goes on trial without a night."""

from __future__ import annotations

from datetime import datetime

from flywheel.config import GateConfig
from flywheel.store.nights import trials
from flywheel.store.warehouse import Store


def go_on_trial(
    store: Store,
    use_case: str,
    rules: GateConfig,
    *,
    as_of: datetime,
    digest: str = "new",
    champion_digest: str = "old",
    train_examples: int = 10,
) -> trials.Standing:
    """Let ``digest`` stand against ``champion_digest``, where it may; how it stands."""
    trials.start(
        store,
        use_case,
        kind="challenge",
        as_of=as_of,
        digest=digest,
        champion_digest=champion_digest,
        snapshot_id="s",
        adapter="a",
        train_examples=train_examples,
        rules=rules,
    )
    found = trials.of_pair(
        store, use_case, kind="challenge", digest=digest, champion_digest=champion_digest
    )
    assert found is not None
    return found
