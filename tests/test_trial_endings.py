"""A trial that ends without a verdict says so on the night's page, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from flywheel.store import open_store
from flywheel.store.nights import trials
from tasks.trial import challenger_on_trial
from tests import nights
from tests.nights import AS_OF, CASE, DAY

pytestmark = pytest.mark.model


def test_a_trial_that_ends_without_a_verdict_says_why(tmp_path: Path) -> None:
    home = nights.make_home(tmp_path / "lived")
    with nights.living_in(home):
        with open_store(home.warehouse) as store:
            trials.start(
                store,
                CASE.name,
                kind="challenge",
                as_of=AS_OF,
                digest="new",
                champion_digest="old",
                snapshot_id="s",
                adapter="a",
                train_examples=10,
                rules=CASE.gate,
            )
        standing, over = challenger_on_trial.fn(CASE, home, at=AS_OF + DAY)
        # a night that was killed and lives again says the same
        assert challenger_on_trial.fn(CASE, home, at=AS_OF + DAY) == (standing, over)
    assert standing is None
    assert over is not None
    assert over.detail.startswith("trial 1 ended without a verdict: the champion was changed")
