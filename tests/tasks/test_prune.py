"""What `flywheel prune` removes, and that nothing which is needed goes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from flows.cli.main import cli
from flywheel.config import Home
from flywheel.dataset import snapshots
from flywheel.errors import DataError, RegistryUnavailable, StoreBusy
from flywheel.records import Curated, Example, NightRecord, Snapshot
from flywheel.reports import night_index
from flywheel.store import open_store
from flywheel.store.nights import night_runs
from flywheel.tracking.registry import Registry
from tasks import prune as pruning
from tasks.coordination.locks import only_night
from tasks.erasure.erase import forget
from tasks.ingest import ingest_inbox
from tasks.promote import await_approval
from tests import champions, nights
from tests.champions import tag, version
from tests.nights import CASE
from tests.strategies import row

pytestmark = pytest.mark.model

NOW = datetime.now(UTC).replace(microsecond=0)
OLD, YOUNG = NOW - timedelta(days=200), NOW - timedelta(days=10)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Version 1 is champion, 2 and 3 were found better; their trainings lie in ``adapters/``."""
    home = champions.copy(tmp_path / "home")
    with nights.living_in(home):
        for folder in home.adapters.iterdir():
            age(folder, OLD)
        yield home


def age(path: Path, at: datetime) -> None:
    for one in (path, *path.rglob("*")):
        os.utime(one, (at.timestamp(), at.timestamp()))


def freeze(home: Home, text: str, *, at: datetime = OLD) -> str:
    """The id of a snapshot of one example, as old as its night."""
    made: Snapshot = snapshots.write(
        Curated((Example(text, text, "positive", 0.9, "g", "train", ("f1",)),), ()),
        home.snapshots,
    )
    with open_store(home.warehouse) as store:
        store.commit_snapshot(CASE.name, made, Curated((), ()), {}, at)
    age(home.snapshots / made.snapshot_id, at)
    return made.snapshot_id


def learned(home: Home, number: str, snapshot: str, *, verdict: str, at: datetime = OLD) -> None:
    """A night of that time made this version of a snapshot."""
    tag(home, number, snapshot_id=snapshot, verdict=verdict)
    with open_store(home.warehouse) as store:
        facts = {"version": number}
        digest = version(home, number).digest
        night = NightRecord(at, "rejected", [], facts, snapshot, digest, recorded_at=at)
        night_runs.record(store, CASE.name, night)


def page(home: Home, at: datetime) -> Path:
    path = home.reports(CASE.name) / night_index.page_name(at)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("<html></html>")
    return path


def call(*words: str) -> Result:
    return CliRunner().invoke(cli, ["prune", *words])


def as_json(*words: str) -> dict[str, Any]:
    result = call(*words, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def named(home: Home, **kept: int) -> dict[str, list[str]]:
    """What would go, by kind, by the last part of its path."""
    found = pruning.plan(home, at=NOW, keep_days=kept.get("keep_days", 90))
    return {
        kind: [one.path.name for one in found if one.kind == kind]
        for kind in {one.kind for one in found}
    }


def test_the_snapshot_of_a_rejected_version_goes_and_those_that_are_needed_stay(
    home: Home,
) -> None:
    of_champion, of_waiting, of_rejected = (freeze(home, text) for text in "abc")
    of_nobody, of_tonight = freeze(home, "d"), freeze(home, "e", at=YOUNG)
    learned(home, "1", of_champion, verdict="reject")
    learned(home, "2", of_waiting, verdict="reject")
    await_approval.fn(home, version(home, "2"), use_case=CASE, against=version(home, "1"))
    learned(home, "3", of_rejected, verdict="reject")
    freeze(home, "f")
    assert named(home)["snapshot"] == sorted([of_rejected, of_nobody])
    learned(home, "3", of_rejected, verdict="promote")
    assert named(home)["snapshot"] == [of_nobody]
    assert of_tonight not in named(home)["snapshot"]


def test_what_is_on_trial_stays_with_its_training(home: Home) -> None:
    snapshot = freeze(home, "a")
    freeze(home, "b")
    learned(home, "3", snapshot, verdict="undecided")
    digest = version(home, "3").digest
    with open_store(home.warehouse) as store:
        store.con.execute(
            "INSERT INTO trials (use_case, kind, digest, champion_digest, number, alpha, "
            "snapshot_id, adapter, train_examples, started_as_of) "
            "VALUES (?, 'challenge', ?, 'c', 1, 0.05, ?, '3', 1, ?)",
            [CASE.name, digest, snapshot, OLD],
        )
    assert named(home) == {"adapter": ["1", "2"]}
    with open_store(home.warehouse) as store:
        store.con.execute("UPDATE trials SET ended_as_of = ?, ending = 'superseded'", [OLD])
    assert named(home) == {"adapter": ["1", "2", "3"], "snapshot": [snapshot]}


def test_a_night_that_was_not_long_ago_keeps_what_it_used(home: Home) -> None:
    snapshot = freeze(home, "a")
    freeze(home, "b")
    learned(home, "3", snapshot, verdict="reject", at=YOUNG)
    assert "snapshot" not in named(home)
    assert named(home, keep_days=5)["snapshot"] == [snapshot]


def test_a_file_goes_once_every_row_of_it_is_in_the_warehouse(home: Home) -> None:
    inbox = home.inbox(CASE.name)
    inbox.mkdir(parents=True, exist_ok=True)
    (inbox / "good.jsonl").write_text(json.dumps(row(value="positive")) + "\n")
    bad = [row(feedback_id="f2", value="positive"), row(feedback_id="f3", value="what")]
    (inbox / "bad.jsonl").write_text("".join(json.dumps(one) + "\n" for one in bad))
    ingest_inbox(CASE, home, at=OLD)
    (inbox / "waits.jsonl").write_text(json.dumps(row(feedback_id="f4", value="positive")))
    (inbox / "done" / "stranger.txt").write_text("who knows")
    (name,) = named(home)["done"]
    assert name.endswith("-good.jsonl")
    pruning.prune(home, at=NOW, keep_days=90)
    assert {one.name[-9:] for one in (inbox / "done").iterdir()} == {"bad.jsonl", "anger.txt"}
    assert (inbox / "waits.jsonl").is_file()


def test_pages_of_old_nights_go_but_for_those_of_versions_that_are_needed(home: Home) -> None:
    learned(home, "1", freeze(home, "a"), verdict="promote", at=OLD)
    learned(home, "3", freeze(home, "b"), verdict="reject", at=OLD + timedelta(days=1))
    of_champion, of_rejected = page(home, OLD), page(home, OLD + timedelta(days=1))
    index = of_champion.with_name("index.html")
    index.write_text("all nights")
    assert named(home)["report"] == [of_rejected.name]
    pruning.prune(home, at=NOW, keep_days=90)
    assert (of_champion.exists(), of_rejected.exists(), index.exists()) == (True, False, True)


def test_the_command_says_bytes_first_and_removes_only_when_told(home: Home) -> None:
    size = sum(p.stat().st_size for p in home.adapters.rglob("*") if p.is_file())
    for words in ((), ("--dry-run",)):
        said = as_json(*words)
        assert (said["done"], said["bytes"]) == (False, size)
        assert said["kinds"]["adapter"] == {"count": 3, "bytes": size}
    assert len(list(home.adapters.iterdir())) == 3
    assert "3 would go" not in call("-v").stdout
    assert "adapters/1" in call("-v").stdout
    assert call("--yes", "--dry-run").exit_code == 2
    assert as_json("--yes")["bytes"] == size
    assert list(home.adapters.iterdir()) == []
    assert as_json()["paths"] == []
    assert version(home, "2").adapter_dir.is_dir(), "the registry has its own"


def test_a_killed_prune_is_finished_by_the_next(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: Path) -> None:
        next(one for one in path.rglob("*") if one.is_file()).unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            pruning.prune(home, at=NOW, keep_days=90)
    assert sorted(p.name for p in home.adapters.iterdir()) == [".pruned-1", "2", "3"]
    pruning.prune(home, at=NOW, keep_days=90)
    assert list(home.adapters.iterdir()) == []


def test_while_a_night_runs_or_the_registry_is_away_nothing_goes(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with only_night(home, CASE.name), pytest.raises(StoreBusy):
        pruning.prune(home, at=NOW, keep_days=90)
    with monkeypatch.context() as cut:
        cut.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        cut.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        with pytest.raises(RegistryUnavailable):
            pruning.prune(home, at=NOW, keep_days=90)
    assert len(list(home.adapters.iterdir())) == 3


def test_where_a_version_s_files_are_gone_nobody_guesses_what_it_needs(home: Home) -> None:
    (version(home, "2").adapter_dir / "adapter_model.safetensors").unlink()
    with pytest.raises(DataError, match="Nobody knows what tiny-reviews version 2 needs"):
        pruning.prune(home, at=NOW, keep_days=90)
    assert len(list(home.adapters.iterdir())) == 3


def test_who_is_forgotten_after_a_prune_is_forgotten_completely(home: Home) -> None:
    inbox = home.inbox(CASE.name)
    inbox.mkdir(parents=True, exist_ok=True)
    said = row(feedback_id="f1", value="positive", customer_id="ann-17", text="my own words here")
    (inbox / "a.jsonl").write_text(json.dumps(said) + "\n")
    ingest_inbox(CASE, home, at=OLD)
    freeze(home, "my own words here")
    freeze(home, "b", at=YOUNG)
    gone = {one.kind for one in pruning.prune(home, at=NOW, keep_days=90)}
    assert gone == {"adapter", "done", "snapshot"}
    assert forget(home, "ann-17", at=NOW)["complete"]
    assert Registry(home).champion(CASE.name) == "1"
