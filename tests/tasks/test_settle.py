"""Whoever moves the champion, wherever they are stopped: one champion, and a log that says so."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from flywheel.catalog.base_models import MANIFEST
from flywheel.config import Home
from flywheel.errors import (
    ChampionMoved,
    DataError,
    DigestMismatch,
    FlywheelError,
    NotEnoughData,
    RegistryUnavailable,
)
from flywheel.records import NightRecord, Promotion, Settled
from flywheel.store import open_store
from flywheel.store.nights import night_runs
from flywheel.tracking.registry import Registry
from flywheel.tracking.version_tags import (
    APPROVAL,
    APPROVAL_RESULT,
    APPROVED_BY,
    JUDGED_AGAINST,
    MOVING,
    WAITING,
)
from tasks.champion.approve import approve
from tasks.champion.reconcile import SOMEBODY, fault_of, settle_if_free
from tasks.champion.rollback import plan, rollback
from tasks.coordination.locks import only_night
from tasks.opponent import find_opponent
from tasks.promote import await_approval
from tasks.train import fetch_bases_of_versions
from tests import champions, nights
from tests.champions import by_hand, champion, log, promote, story, tag, tags, tamper, version
from tests.nights import AS_OF, CASE, DAY

pytestmark = pytest.mark.model

FIRST = ("promoted", "1", None)
NOON = AS_OF.replace(hour=12)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Version 1 is champion; 2 and 3 won against it; 4 is no model of flywheel's."""
    home = champions.copy(tmp_path / "home")
    with nights.living_in(home):
        yield home


def settle(home: Home, at: datetime = NOON) -> Settled:
    settled = settle_if_free(CASE, home, at=at)
    assert settled is not None
    return settled


def wait(home: Home, number: str, *, against: str = "1") -> str:
    """What a night does with a challenger that won, where promotion needs approval."""
    return await_approval.fn(
        home, version(home, number), use_case=CASE, against=version(home, against)
    )


# ---- A base that is gone


def test_a_champion_whose_base_is_gone_is_told_of_where_it_is_compared(home: Home) -> None:
    shutil.rmtree(home.models / "tiny")
    found = find_opponent.fn(CASE, home, "of tonight")
    assert found.version is None
    assert found.gone is not None
    assert "The base tiny" in found.gone
    assert "put it back" in found.gone
    assert "tiny" in str(fault_of(CASE, home, "1"))


def test_a_night_that_trains_nothing_wants_the_bases_of_what_was_registered(home: Home) -> None:
    shutil.rmtree(home.models / "tiny")
    with pytest.raises(FlywheelError, match="tiny"):
        fetch_bases_of_versions.fn(CASE, home)
    # a use case without a version needs none yet
    fetch_bases_of_versions.fn(CASE.model_copy(update={"name": "another"}), home)


# ---- Promotions by a night


def test_a_promotion_says_who_when_and_instead_of_whom(home: Home) -> None:
    promote(home, "2", against="1", day=1)
    last = log(home)[-1]
    assert (champion(home), last.version, last.before) == ("2", "2", "1")
    assert (last.action, last.who, last.at) == ("promoted", "flywheel", AS_OF + DAY)
    assert last.digest == version(home, "2").digest
    assert MOVING not in tags(home, "2")


def test_promoting_twice_is_promoting_once(home: Home) -> None:
    promote(home, "2", against="1", day=1)
    promote(home, "2", against="1", day=1)
    assert story(home) == [FIRST, ("promoted", "2", "1")]


def test_a_night_that_is_lived_again_does_not_undo_what_a_person_did_since(home: Home) -> None:
    promote(home, "2", against="1", day=1)
    rollback(CASE, home, at=NOON + DAY, who="ann", why="wrong refunds")
    promote(home, "2", against="1", day=1)
    assert champion(home) == "1"
    assert story(home)[-1] == ("rolled_back", "1", "2")


def test_nothing_is_promoted_over_a_champion_it_was_not_compared_with(home: Home) -> None:
    by_hand(home, "3")
    with pytest.raises(ChampionMoved, match=r"compared with version 1.*champion is version 3"):
        promote(home, "2", against="1", day=1)
    assert champion(home) == "3"
    assert story(home) == [FIRST]


def test_a_night_that_saw_no_champion_does_not_promote_over_the_one_on_record(home: Home) -> None:
    by_hand(home, None)
    for number in ("1", "2"):
        with pytest.raises(ChampionMoved, match="compared with version none"):
            promote(home, number, against=None, day=1)
    assert story(home) == [FIRST]
    settle(home)
    assert champion(home) == "1"


def test_a_tampered_challenger_is_not_promoted(home: Home) -> None:
    challenger = version(home, "2")
    tamper(home, "2")
    with pytest.raises(DigestMismatch, match=r"version 2 .*adapter: measured \w+, found"):
        promote(home, "2", against="1", day=1)
    assert champion(home) == "1"
    assert challenger.measured.parts


def test_a_deleted_alias_does_not_stop_the_night(home: Home) -> None:
    by_hand(home, None)
    promote(home, "2", against="1", day=1)
    assert champion(home) == "2"


# ---- Killed half-way


def step(home: Home, number: str, before: str, action: str = "promoted") -> Promotion:
    digest = version(home, number).digest
    return Promotion(AS_OF + DAY, action, number, digest, before, "flywheel", "why")  # type: ignore[arg-type]


def test_killed_before_the_alias_moved_leaves_no_trace(home: Home) -> None:
    tag(home, "2", **{MOVING: champions.as_json(step(home, "2", "1"))})
    assert settle(home) == Settled()
    assert (champion(home), story(home)) == ("1", [FIRST])
    assert MOVING not in tags(home, "2")


def test_killed_after_the_alias_moved_is_recorded_as_what_it_was(home: Home) -> None:
    begun = step(home, "2", "1")
    tag(home, "2", **{MOVING: champions.as_json(begun)})
    by_hand(home, "2")
    assert settle(home).promotions == (begun,)
    assert log(home)[-1] == begun, "and not moved_by_hand"
    assert settle(home) == Settled()
    promote(home, "2", against="1", day=1)
    assert story(home) == [FIRST, ("promoted", "2", "1")]


def test_killed_after_the_record_is_recorded_once(home: Home) -> None:
    promote(home, "2", against="1", day=1)
    tag(home, "2", **{MOVING: champions.as_json(log(home)[-1])})
    assert settle(home) == Settled()
    assert story(home) == [FIRST, ("promoted", "2", "1")]
    assert MOVING not in tags(home, "2")


# ---- Approvals


def test_an_approved_version_becomes_champion_and_says_who_approved(home: Home) -> None:
    assert wait(home, "2") == "awaiting_approval"
    assert settle(home) == Settled(), "waiting is not approving"
    tag(home, "2", **{APPROVAL: "Approved ", APPROVED_BY: "ann"})
    settle(home)
    last = log(home)[-1]
    assert (champion(home), last.action, last.version, last.before) == ("2", "approved", "2", "1")
    assert (last.who, last.at) == ("ann", NOON)
    assert WAITING not in tags(home, "2")
    assert tags(home, "2")[APPROVAL_RESULT].startswith("carried out: approved by ann")
    assert settle(home) == Settled()


def test_who_approves_without_a_name_is_a_person_in_mlflow(home: Home) -> None:
    wait(home, "2")
    tag(home, "2", **{APPROVAL: "approved"})
    settle(home)
    assert log(home)[-1].who == SOMEBODY


def test_a_rejected_version_stays_rejected(home: Home) -> None:
    wait(home, "2")
    tag(home, "2", **{APPROVAL: "rejected", APPROVED_BY: "ann"})
    settle(home)
    assert (champion(home), story(home)) == ("1", [FIRST])
    assert tags(home, "2")[APPROVAL_RESULT].startswith("rejected by ann")
    wait(home, "2")
    assert WAITING not in tags(home, "2"), "a night that is lived again does not ask again"
    wait(home, "2", against="3")
    assert tags(home, "2")[WAITING] == "true", "but another comparison is another question"
    assert APPROVAL not in tags(home, "2")


def test_a_word_that_is_no_decision_decides_nothing_and_is_said(home: Home) -> None:
    wait(home, "2")
    tag(home, "2", **{APPROVAL: "maybe"})
    (note,) = settle(home).notes
    assert "'maybe'" in note
    assert (champion(home), tags(home, "2")[WAITING]) == ("1", "true")


def test_a_version_that_does_not_wait_cannot_be_approved(home: Home) -> None:
    tag(home, "2", **{APPROVAL: "approved"})
    (note,) = settle(home).notes
    assert "does not await approval" in note
    assert champion(home) == "1"
    assert settle(home) == Settled(), "said once"


@pytest.mark.parametrize("verdict", ["reject", "undecided"])
def test_a_version_that_the_gate_did_not_pass_cannot_be_approved(home: Home, verdict: str) -> None:
    wait(home, "2")
    tag(home, "2", verdict=verdict, **{APPROVAL: "approved"})
    (note,) = settle(home).notes
    assert f"refused: its verdict was {verdict}" in note
    assert champion(home) == "1"


def test_a_tampered_version_is_refused_with_what_differs(home: Home) -> None:
    wait(home, "2")
    tamper(home, "2")
    tag(home, "2", **{APPROVAL: "approved"})
    settle(home)
    assert (champion(home), story(home)) == ("1", [FIRST])
    assert "adapter: measured" in tags(home, "2")[APPROVAL_RESULT]
    assert WAITING not in tags(home, "2")


def test_after_the_prompt_was_changed_nothing_measured_with_the_old_one_is_approved(
    home: Home,
) -> None:
    wait(home, "2")
    tag(home, "2", **{APPROVAL: "approved"})
    changed = CASE.model_copy(update={"prompt": "{text}\nSentiment:"})
    assert settle_if_free(changed, home, at=NOON) is not None
    assert champion(home) == "1"
    assert "prompt: measured" in tags(home, "2")[APPROVAL_RESULT]


def test_a_version_whose_served_labels_were_replaced_is_refused(home: Home) -> None:
    wait(home, "2")
    tag(home, "2", **{APPROVAL: "approved"})
    (served,) = (p for p in version(home, "2").adapter_dir.parents if (p / "MLmodel").is_file())
    text = (served / "MLmodel").read_text()
    assert "- - positive\n" in text
    (served / "MLmodel").write_text(text.replace("- - positive\n", "- - great\n"))
    settle(home)
    assert champion(home) == "1"
    assert "labels: measured" in tags(home, "2")[APPROVAL_RESULT]


def test_of_two_that_wait_the_other_is_withdrawn_when_one_is_approved(home: Home) -> None:
    wait(home, "2")
    wait(home, "3")
    tag(home, "2", **{APPROVAL: "approved"})
    settle(home)
    assert champion(home) == "2"
    settle(home)
    assert tags(home, "3")[APPROVAL_RESULT].startswith("withdrawn: it was compared with version 1")
    tag(home, "3", **{APPROVAL: "approved"})
    settle(home)
    assert champion(home) == "2"


def test_two_approved_at_once_make_one_champion(home: Home) -> None:
    for number in ("2", "3"):
        wait(home, number)
        tag(home, number, **{APPROVAL: "approved"})
    settle(home)
    assert champion(home) == "3"
    assert story(home) == [FIRST, ("approved", "3", "1")]
    assert WAITING not in tags(home, "2")


def test_a_night_lived_again_after_the_approval_ends_promoted(home: Home) -> None:
    wait(home, "2")
    approve(CASE, home, by="ann", at=NOON)
    assert wait(home, "2") == "promoted"
    assert WAITING not in tags(home, "2")


def test_an_approval_killed_before_its_tags_went_is_carried_out_once(home: Home) -> None:
    wait(home, "2")
    tag(home, "2", **{APPROVAL: "approved", APPROVED_BY: "ann"})
    settle(home)
    tag(home, "2", **{WAITING: "true", JUDGED_AGAINST: "1"})
    (note,) = settle(home, NOON + DAY).notes
    assert "carried out" in note
    assert story(home) == [FIRST, ("approved", "2", "1")]


def test_approving_by_command_is_approving(home: Home) -> None:
    wait(home, "2")
    wait(home, "3")
    done = approve(CASE, home, by="ann", at=NOON)
    assert (done["version"], done["decision"], done["champion"]) == ("3", "approved", "3")
    assert log(home)[-1].who == "ann"
    with pytest.raises(NotEnoughData, match="No version"):
        approve(CASE, home, by="ann", at=NOON)


def test_rejecting_by_command_names_the_version(home: Home) -> None:
    wait(home, "2")
    wait(home, "3")
    done = approve(CASE, home, "2", by="ann", reject=True, at=NOON)
    assert done["result"].startswith("rejected by ann")
    assert champion(home) == "1"
    with pytest.raises(DataError, match="version 2 does not await approval; waiting: 3"):
        approve(CASE, home, "2", by="ann", at=NOON)


# ---- Moved by hand


def test_an_alias_moved_by_hand_is_accepted_and_recorded(home: Home) -> None:
    by_hand(home, "2")
    settle(home)
    last = log(home)[-1]
    assert (champion(home), last.action, last.before) == ("2", "moved_by_hand", "1")
    assert (last.who, last.at) == (SOMEBODY, NOON)
    assert settle(home) == Settled()


def test_moving_the_alias_to_a_version_that_waits_is_approving_it(home: Home) -> None:
    wait(home, "2")
    by_hand(home, "2")
    settle(home)
    assert story(home) == [FIRST, ("approved", "2", "1")]
    assert WAITING not in tags(home, "2")


def test_an_alias_moved_to_a_tampered_version_is_put_back(home: Home) -> None:
    tamper(home, "2")
    by_hand(home, "2")
    settle(home)
    last = log(home)[-1]
    assert (champion(home), last.action, last.version, last.before) == ("1", "restored", "1", "2")
    assert "adapter: measured" in last.why


def test_an_alias_moved_to_a_stranger_is_put_back(home: Home) -> None:
    by_hand(home, champions.STRANGER)
    settle(home)
    assert champion(home) == "1"
    assert "no digest" in log(home)[-1].why


def test_an_alias_moved_to_a_version_whose_digest_tag_was_replaced_is_put_back(home: Home) -> None:
    tag(home, "2", digest=version(home, "3").digest)
    by_hand(home, "2")
    settle(home)
    assert champion(home) == "1"
    assert "its digest is that of version 3" in log(home)[-1].why


def test_an_alias_moved_to_a_version_that_lost_its_files_is_put_back(home: Home) -> None:
    (version(home, "2").adapter_dir / "adapter_model.safetensors").unlink()
    by_hand(home, "2")
    settle(home)
    assert champion(home) == "1"


def test_a_version_with_forgotten_data_may_be_moved_to_with_a_warning(home: Home) -> None:
    Registry(home).mark_forgotten(CASE.name, "2", "certificate-7")
    by_hand(home, "2")
    (note,) = settle(home).notes
    assert "certificate-7" in note
    assert champion(home) == "2"


def test_a_deleted_alias_is_put_back(home: Home) -> None:
    promote(home, "2", against="1", day=1)
    by_hand(home, None)
    settle(home)
    assert champion(home) == "2"
    assert story(home)[-1] == ("restored", "2", None)
    assert "deleted" in log(home)[-1].why


def test_when_the_champion_itself_was_deleted_the_one_before_it_is_put_back(home: Home) -> None:
    promote(home, "2", against="1", day=1)
    Registry(home).client.delete_model_version(CASE.name, "2")
    settle(home)
    assert champion(home) == "1"
    assert story(home)[-1] == ("restored", "1", None)


def test_when_no_champion_is_as_measured_any_more_the_last_one_is_put_back(home: Home) -> None:
    tamper(home, "1")
    by_hand(home, None)
    settle(home)
    assert champion(home) == "1", "which will not answer, and says why"


def test_a_lost_registry_is_said_and_not_mended(home: Home) -> None:
    for number in (*champions.MEASURED, champions.STRANGER):
        Registry(home).client.delete_model_version(CASE.name, number)
    (note,) = settle(home).notes
    assert "no version at all" in note
    assert story(home) == [FIRST]


# ---- What stops a settling


def test_while_a_night_runs_nothing_is_settled(home: Home) -> None:
    wait(home, "2")
    with only_night(home, CASE.name):
        assert approve(CASE, home, by="ann", at=NOON)["result"] is None
        assert settle_if_free(CASE, home, at=NOON) is None
        assert champion(home) == "1"
    settle(home, NOON + DAY)
    assert (champion(home), log(home)[-1].who) == ("2", "ann")


def test_with_the_registry_away_nothing_changes(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with monkeypatch.context() as cut:
        cut.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        with pytest.raises(RegistryUnavailable):
            settle(home)
    assert (champion(home), story(home)) == ("1", [FIRST])


def test_with_an_incomplete_base_nothing_is_taken_for_tampered(home: Home) -> None:
    by_hand(home, "2")
    (home.models / CASE.training.base / MANIFEST).unlink()
    with pytest.raises(DataError, match="no complete base"):
        settle(home)
    assert (champion(home), story(home)) == ("2", [FIRST])


def test_an_empty_home_has_nothing_to_settle(tmp_path: Path) -> None:
    home = nights.make_home(tmp_path / "home")
    with nights.living_in(home):
        assert settle(home) == Settled()


# ---- Homes from before promotions were recorded


def forget_promotions(home: Home) -> None:
    with open_store(home.warehouse) as store:
        store.con.execute("DELETE FROM promotions")


def promoted(home: Home, number: str, day: int) -> None:
    with open_store(home.warehouse) as store:
        night_runs.record(
            store,
            CASE.name,
            NightRecord(
                AS_OF + day * DAY,
                "promoted",
                [],
                {"version": number},
                snapshot_id="s",
                digest=version(home, number).digest,
                recorded_at=AS_OF,
            ),
        )


def test_an_old_home_goes_on_with_what_its_nights_say(home: Home) -> None:
    promote(home, "2", against="1", day=1)
    forget_promotions(home)
    promoted(home, "1", 0)
    promoted(home, "2", 1)
    assert settle(home) == Settled()
    promote(home, "3", against="2", day=2)
    assert story(home) == [FIRST, ("promoted", "2", "1"), ("promoted", "3", "2")]


def test_an_old_home_without_nights_keeps_its_champion(home: Home) -> None:
    forget_promotions(home)
    settle(home)
    assert (champion(home), story(home)) == ("1", [("moved_by_hand", "1", None)])


# ---- Rollback


def test_each_rollback_goes_one_champion_further_back(home: Home) -> None:
    promote(home, "2", against="1", day=1)
    promote(home, "3", against="2", day=2)
    made = plan(CASE, home)
    assert (made.champion, made.target) == ("3", "2")
    assert champion(home) == "3", "a plan changes nothing"
    rollback(CASE, home, at=NOON + 3 * DAY, who="ann", why="x")
    rollback(CASE, home, at=NOON + 4 * DAY, who="ann", why="y")
    assert champion(home) == "1"
    assert story(home)[-2:] == [("rolled_back", "2", "3"), ("rolled_back", "1", "2")]
    assert (log(home)[-1].who, log(home)[-1].why) == ("ann", "y")
    with pytest.raises(NotEnoughData, match="no champion before version 1") as refused:
        rollback(CASE, home, at=NOON + 5 * DAY, who="ann", why="z")
    others = f"flywheel rollback -u {CASE.name} --to VERSION takes any other (here: "
    assert others in str(refused.value)


def test_a_predecessor_that_was_tampered_with_is_passed_over(home: Home) -> None:
    promote(home, "2", against="1", day=1)
    promote(home, "3", against="2", day=2)
    tamper(home, "2")
    made = plan(CASE, home)
    assert made.target == "1"
    assert "adapter: measured" in made.refused["2"]
    assert rollback(CASE, home, at=NOON + 3 * DAY, who="ann", why="x").version == "1"


def test_a_rollback_to_nothing_but_tampered_versions_is_refused(home: Home) -> None:
    promote(home, "2", against="1", day=1)
    tamper(home, "1")
    with pytest.raises(NotEnoughData, match=r"version 1: .*adapter: measured"):
        rollback(CASE, home, at=NOON + DAY, who="ann", why="x")
    assert champion(home) == "2"


def test_a_rollback_can_name_its_version(home: Home) -> None:
    assert rollback(CASE, home, to="3", at=NOON, who="ann", why="x").version == "3"
    assert champion(home) == "3"
    for to, why in (("3", "champion already"), ("9", "not in the registry"), ("4", "no digest")):
        with pytest.raises(DataError, match=why):
            plan(CASE, home, to=to)


def test_a_rollback_does_not_wait_for_the_night_which_then_promotes_nothing(home: Home) -> None:
    promote(home, "2", against="1", day=1)
    with only_night(home, CASE.name):
        rollback(CASE, home, at=NOON + DAY, who="ann", why="x")
        with pytest.raises(ChampionMoved):
            promote(home, "3", against="2", day=2)
    assert champion(home) == "1"


def test_a_rollback_starts_from_what_a_person_did(home: Home) -> None:
    promote(home, "2", against="1", day=1)
    by_hand(home, "3")
    rollback(CASE, home, at=NOON + 2 * DAY, who="ann", why="x")
    assert story(home)[-2:] == [("moved_by_hand", "3", "2"), ("rolled_back", "2", "3")]


def test_the_same_rollback_again_does_not_undo_what_came_after_it(home: Home) -> None:
    promote(home, "2", against="1", day=1)
    first = rollback(CASE, home, at=NOON + DAY, who="ann", why="x")
    promote(home, "2", against="1", day=2)
    assert rollback(CASE, home, at=NOON + DAY, who="ann", why="x") == first
    assert champion(home) == "2"
