"""Who must wait for a forgetting, whom it finds, and what its command says."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from flows.cli.main import cli
from flywheel.config import Home
from flywheel.errors import FlywheelError, StoreBusy
from flywheel.privacy import erasure_plan
from flywheel.store import open_store
from flywheel.store.nights import night_runs
from tasks.coordination.locks import only_night
from tasks.erasure.erase import forget, plan
from tasks.ingest import ingest_inbox
from tests.erasure_fixtures import (
    AT,
    CANARY,
    JOB,
    WHO,
    drop,
    hashes,
    json_lines,
    other,
    places,
    tables,
    theirs,
)


@pytest.fixture(autouse=True)
def without_uri(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")


# ---- Who must wait, and what was not there


def test_a_running_night_is_not_disturbed(home: Home) -> None:
    with only_night(home, JOB.name):
        before = hashes(home)
        with pytest.raises(StoreBusy, match=r"^A night of job .*; nobody was forgotten\."):
            forget(home, WHO, at=AT)
        assert hashes(home) == before


def test_somebody_unknown_leaves_no_trace_in_the_plan(home: Home) -> None:
    assert plan(home, "nobody-here").is_empty
    done = forget(home, "nobody-here", at=AT)
    assert done["searched_afterwards"]["found"] == []
    assert done["versions_marked"] == []
    with open_store(home.warehouse) as store:
        assert not night_runs.retrain_wanted(store, JOB.name)


def test_an_empty_home_has_nothing_to_forget(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert plan(home, WHO).is_empty
    assert [*tmp_path.iterdir()] == []


def test_a_blank_name_is_refused(home: Home) -> None:
    with pytest.raises(FlywheelError, match="blank"):
        plan(home, "  ")


@pytest.mark.slow
def test_two_people_one_after_the_other(home: Home) -> None:
    forget(home, WHO, at=AT)
    first = tables(home)["rewrites"]
    forget(home, "customer-1001", at=AT + timedelta(hours=1))
    rewritten = {row[1]: row[2] for row in tables(home)["rewrites"]}
    left = {row[1] for row in tables(home)["snapshots"]}
    # what versions learned from leads to what is left of it, however often it was rewritten
    assert {rewritten[row[1]] for row in first} <= left
    assert places(home, "customer-1001") == set()
    assert len([*home.forget.glob("*.md")]) == 2


def test_near_duplicates_of_others_are_shown_and_go_only_when_asked(home: Home) -> None:
    near = theirs(1)["text"].replace("lake", "sea")
    drop(home, "near.jsonl", json_lines(other(60, text=near, source="app")))
    ingest_inbox(JOB, home, at=AT)
    (closest,) = _alike(home)
    assert closest == "other-60"
    assert forget(home, WHO, at=AT, alike=True)["near_duplicates_by_others_kept"] == {JOB.name: 0}
    assert "other-60" not in {row[1] for row in tables(home)["feedback"]}


def _alike(home: Home) -> tuple[str, ...]:
    return plan(home, WHO).alike[JOB.name]


# ---- The command


def test_the_command_shows_first_and_does_it_with_yes(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", home.mlflow_uri)
    before = hashes(home)
    shown = CliRunner().invoke(cli, ["forget", WHO])
    assert shown.exit_code == 0
    assert "Add --yes to do it" in shown.stdout
    assert CANARY not in shown.output
    assert hashes(home) == before
    done = CliRunner().invoke(cli, ["forget", WHO, "-u", JOB.name, "--yes", "--json"])
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout)
    assert Path(content["path"]).is_file()
    assert places(home, CANARY) == set()


def test_what_cannot_be_deleted_is_said_and_fails(home: Home) -> None:
    (home.inbox(JOB.name) / "notes.txt").write_text(f"call {WHO} back: {theirs(1)['text']}")
    done = CliRunner().invoke(cli, ["forget", WHO, "--yes"])
    assert done.exit_code == 1
    (page,) = home.forget.glob("*.md")
    assert "still found in inbox/job/notes.txt" in page.read_text()


@pytest.mark.slow
def test_a_name_in_texts_of_nobodys_is_said_by_every_run_until_it_is_gone(home: Home) -> None:
    forget(home, WHO, at=AT)
    person = "Żaneta Kowalska"
    file = home.inbox("unowned") / "init.jsonl"
    file.parent.mkdir()
    row = {**other(1, customer_id=None, text=f"please call {person}, she waits"), "group_id": None}
    file.write_bytes(json_lines(row, other(2)))
    for _ in range(2):
        shown = CliRunner().invoke(cli, ["forget", person])
        assert shown.exit_code == 1
        assert "inbox/unowned/init.jsonl: 1 rows; it stays there" in shown.stdout
        assert "Nothing here holds" not in shown.stdout
        done = CliRunner().invoke(cli, ["forget", person, "--yes"])
        assert done.exit_code == 1
        assert "NOT COMPLETE" in done.stderr
        assert "inbox/unowned/init.jsonl" in done.stderr
        page = Path(done.stdout.strip()).read_text()
        assert "forgotten in" not in page
        assert "No row of the person was found in any use case." in page
        assert "- still found in inbox/unowned/init.jsonl" in page
    file.write_bytes(json_lines(other(2)))
    shown = CliRunner().invoke(cli, ["forget", person])
    assert (shown.exit_code, shown.stdout) == (0, "Nothing here holds this person.\n")
    assert CliRunner().invoke(cli, ["forget", person, "--yes"]).exit_code == 0


def test_the_dry_run_names_only_what_a_forgetting_leaves(home: Home) -> None:
    assert plan(home, WHO).named_in == ()
    drop(home, "told.jsonl", json_lines(theirs(70), other(71, text=f"so said {WHO}, and left")))
    (one,) = plan(home, WHO).named_in
    assert (one.path, one.rows) == ("inbox/job/told.jsonl", 1)
    assert one.path in "\n".join(erasure_plan.plan_lines(plan(home, WHO)))
    done = forget(home, WHO, at=AT)
    assert done["searched_afterwards"]["found"] == [one.path]


def test_a_name_within_others_texts_in_the_warehouse_is_said(home: Home) -> None:
    """Also where the file that brought it is gone: it is searched for by nothing else."""
    assert erasure_plan.said_of_others(plan(home, WHO)) == []
    drop(home, "told.jsonl", json_lines(other(71, text=f"so said {WHO}, and left")))
    ingest_inbox(JOB, home, at=AT)
    for path in (home.inbox(JOB.name) / "done").glob("*told*"):
        path.unlink()
    said = "1 texts by other people in the warehouse name this person and were kept"
    assert said in "\n".join(erasure_plan.plan_lines(plan(home, WHO)))
    done = forget(home, WHO, at=AT)
    assert any(one.startswith(said) for one in done["not_undone"])
    assert said in "\n".join(erasure_plan.plan_lines(plan(home, WHO)))


@pytest.mark.parametrize("name", ["48213001", "ann"])
def test_a_name_that_may_mean_anything_is_said_to_be_looked_for_as_an_id(
    home: Home, name: str
) -> None:
    found = plan(home, name)
    assert found.naming is None
    assert "it was looked for as an id and not within texts" in erasure_plan.plan_lines(found)[-1]


def test_a_plan_survives_the_journal(home: Home) -> None:
    from dataclasses import asdict

    found = plan(home, WHO)
    assert erasure_plan.plan_from(json.loads(json.dumps(asdict(found)))) == found


def test_a_journal_of_an_earlier_version_calls_the_holdout_exam(home: Home) -> None:
    from dataclasses import asdict

    found = plan(home, WHO)
    assert found.snapshots
    written = json.dumps(asdict(found)).replace('"holdout": ', '"exam": ')
    assert erasure_plan.plan_from(json.loads(written)) == found


def test_an_id_in_another_case_is_left_alone_and_said(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYWHEEL_HOME", str(home.root))
    found = plan(home, WHO.upper())
    assert found.is_empty
    assert found.other_case == 1
    shown = CliRunner().invoke(cli, ["forget", WHO.upper()])
    assert "1 id differs from this one by upper and lower case alone" in shown.stdout


def test_a_use_case_without_feedback_is_looked_into(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with open_store(home.warehouse) as store:
        store.con.execute("INSERT INTO audits VALUES ('audited', 'i1', now(), 0.5)")
    home.vendors("bought").mkdir(parents=True)
    home.reports("written-about").mkdir(parents=True)
    assert plan(home, WHO).use_cases == ("audited", "bought", "written-about")
