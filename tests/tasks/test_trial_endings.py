"""A trial that ends without a verdict says so on the night's page, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from flywheel.config import Home
from flywheel.records import Snapshot
from flywheel.store import open_store
from flywheel.store.nights import trials
from tasks.champion.reconcile import settle
from tasks.trial import ask_ledger, challenger_on_trial
from tests import champions, nights
from tests.challengers import go_on_trial
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


def test_a_trial_ends_when_a_person_makes_the_challenger_champion(tmp_path: Path) -> None:
    home = champions.copy(tmp_path / "home")
    pair = [champions.version(home, number) for number in ("2", "1")]
    with nights.living_in(home):
        with open_store(home.warehouse) as store:
            names = {"digest": pair[0].digest, "champion_digest": pair[1].digest}
            go_on_trial(store, CASE.name, CASE.gate, as_of=AS_OF + DAY, **names)
        champions.by_hand(home, "2")
        tonight = AS_OF + 2 * DAY
        settle.fn(CASE, home, at=tonight)
        standing, over = challenger_on_trial.fn(CASE, home, at=tonight)
        with open_store(home.warehouse) as store:
            assert trials.standing(store, CASE.name, kind="challenge", as_of=tonight + DAY) is None
    assert standing is None
    assert over is not None
    assert "it was made champion" in over.detail


def test_a_holdout_that_is_too_small_is_asked_nothing(home: Home) -> None:
    """Twenty such nights took its level to nothing, though no verdict told anything of it."""
    small = Snapshot("s", 100, 10, CASE.gate.min_holdout_examples - 1)
    champion = champions.version(champions.template(), "1")
    asked = {"digest": "new", "champion": champion}
    assert ask_ledger.fn(CASE, home, small, at=AS_OF, **asked) is None
    with open_store(home.warehouse) as store:
        assert trials.asked(store, CASE.name) == []
