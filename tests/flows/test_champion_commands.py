"""`flywheel approve`, `rollback` and `status` on a home with three versions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from flows.cli.main import cli
from flows.reconcile import settle
from flywheel.config import Home
from flywheel.errors import DataError, FlywheelError, NotEnoughData
from flywheel.records import NightRecord
from flywheel.store import open_store
from flywheel.store.nights import night_runs
from tasks.coordination.locks import only_night
from tasks.promote import await_approval
from tests import champions, nights
from tests.champions import by_hand, champion, log, promote, story, tamper, version
from tests.nights import AS_OF, CASE, DAY

pytestmark = pytest.mark.model


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Version 1 is champion; 2 and 3 won against it."""
    home = champions.copy(tmp_path / "home")
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(CASE.model_dump(mode="json")))
    with nights.living_in(home):
        yield home


def call(home: Home, command: str, *words: str) -> Result:
    case = str(home.root.parent / "tiny.yaml")
    return CliRunner().invoke(cli, [command, "-u", case, *words])


def as_json(home: Home, command: str, *words: str) -> dict[str, Any]:
    result = call(home, command, *words, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def wait(home: Home, number: str) -> None:
    await_approval.fn(home, version(home, number), use_case=CASE, against=version(home, "1"))


def judged(home: Home, number: str, *, accuracy: float, day: int) -> None:
    facts = {
        "version": number,
        "holdout_examples": 60,
        "challenger_accuracy": accuracy,
        "challenger_macro_f1": accuracy,
    }
    digest, at = version(home, number).digest, AS_OF + day * DAY
    with open_store(home.warehouse) as store:
        night_runs.record(
            store,
            CASE.name,
            NightRecord(at, "promoted", [], facts, snapshot_id="s", digest=digest, recorded_at=at),
        )


def test_status_shows_what_waits_and_how_to_approve_it(home: Home) -> None:
    judged(home, "2", accuracy=0.9, day=1)
    wait(home, "2")
    (waiting,) = as_json(home, "status")["awaiting_approval"]
    assert waiting == {
        "version": "2",
        "judged_against": "1",
        "holdout": {"n": 60, "accuracy": 0.9, "macro_f1": 0.9},
    }
    assert (
        "version 2 awaits approval, 0.900 on 60 holdout rows: flywheel approve -u tiny-reviews 2"
    ) in call(home, "status").stdout


def test_approve_makes_the_waiting_version_champion_and_status_says_who(home: Home) -> None:
    wait(home, "2")
    done = as_json(home, "approve", "--by", "ann")
    assert (done["version"], done["champion"], done["by"]) == ("2", "2", "ann")
    last = as_json(home, "status")["promotions"][-1]
    assert (last["action"], last["version"], last["who"]) == ("approved", "2", "ann")
    assert "version 2 approved after version 1, by ann" in call(home, "status").stdout


def test_approve_is_signed_by_the_user_of_the_machine(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "berta")
    wait(home, "2")
    result = call(home, "approve")
    assert result.exit_code == 0
    assert "version 2: carried out: approved by berta" in result.stdout
    assert "champion is version 2" in result.stdout


def test_reject_keeps_the_champion(home: Home) -> None:
    wait(home, "2")
    assert as_json(home, "approve", "2", "--reject")["decision"] == "rejected"
    assert champion(home) == "1"


def test_approving_what_does_not_wait_says_what_does(home: Home) -> None:
    wait(home, "3")
    error = call(home, "approve", "2").exception
    assert isinstance(error, DataError)
    assert "waiting: 3" in str(error)
    assert isinstance(call(home, "approve", "9").exception, FlywheelError)


def test_approving_a_tampered_version_fails_and_says_what_differs(home: Home) -> None:
    wait(home, "2")
    tamper(home, "2")
    result = call(home, "approve")
    assert result.exit_code == 1
    assert "adapter: measured" in result.stdout
    assert "champion is version 1" in result.stdout


def test_approving_during_a_night_is_noted(home: Home) -> None:
    wait(home, "2")
    with only_night(home, CASE.name):
        result = call(home, "approve", "--by", "ann")
    assert result.exit_code == 0
    assert "noted; a night is running" in result.stdout
    assert champion(home) == "1"
    assert settle.fn(str(home.root.parent / "tiny.yaml")) is not None
    assert (champion(home), log(home)[-1].who) == ("2", "ann")


def test_the_poll_says_what_it_settled(home: Home) -> None:
    by_hand(home, "2")
    settled = settle.fn(str(home.root.parent / "tiny.yaml"))
    assert settled is not None
    assert [step["action"] for step in settled["promotions"]] == ["moved_by_hand"]
    with only_night(home, CASE.name):
        assert settle.fn(str(home.root.parent / "tiny.yaml")) is None


def test_rollback_is_a_dry_run_that_says_what_would_happen(home: Home) -> None:
    judged(home, "1", accuracy=0.7, day=0)
    judged(home, "2", accuracy=0.9, day=1)
    promote(home, "2", against="1", day=1)
    before = story(home)
    lines = call(home, "rollback").stdout.splitlines()
    assert lines == [
        "tiny-reviews: champion is version 2 (0.900 on 60 holdout rows)",
        "  would become version 1 (0.700 on 60 holdout rows)",
        "  nothing was changed; --yes does it",
    ]
    facts = as_json(home, "rollback")
    assert (facts["champion"], facts["target"], facts["done"]) == ("2", "1", False)
    assert (champion(home), story(home)) == ("2", before)


def test_rollback_with_yes_does_it_and_keeps_the_reason(home: Home) -> None:
    promote(home, "2", against="1", day=1)
    facts = as_json(home, "rollback", "--yes", "--why", "wrong refunds", "--by", "ann")
    assert (facts["champion"], facts["target"], facts["done"]) == ("2", "1", True)
    last = log(home)[-1]
    assert (champion(home), last.action, last.who, last.why) == (
        "1",
        "rolled_back",
        "ann",
        "wrong refunds",
    )
    assert "version 1 rolled back to after version 2, by ann: wrong refunds" in (
        call(home, "status").stdout
    )


def test_rollback_says_which_versions_it_passed_over(home: Home) -> None:
    promote(home, "2", against="1", day=1)
    promote(home, "3", against="2", day=2)
    tamper(home, "2")
    result = call(home, "rollback")
    assert "would become version 1" in result.stdout
    assert "passed over version 2: " in result.stdout


def test_rollback_to_a_version_goes_there(home: Home) -> None:
    assert as_json(home, "rollback", "--to", "3", "--yes")["target"] == "3"
    assert champion(home) == "3"


def test_rollback_of_the_first_champion_is_refused(home: Home) -> None:
    for words in ((), ("--yes",)):
        assert isinstance(call(home, "rollback", *words).exception, NotEnoughData)
    assert champion(home) == "1"
