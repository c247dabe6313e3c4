"""A night that is killed at any step and lived again ends as if nothing had happened."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flywheel.config import Home
from flywheel.modeling import fingerprint
from flywheel.store import open_store
from flywheel.store.nights import contender_scores, night_runs
from flywheel.tracking.registry import CHALLENGER, CHAMPION, Registry
from flywheel.tracking.version_tags import MOVING
from flywheel.training import adapter_folder
from tasks.champion.move import champions
from tests import nights
from tests.nights import CASE, Nights

pytestmark = [pytest.mark.prefect, pytest.mark.model, pytest.mark.slow]

KILLED = -9
# a name that is gone fails here, at collection, and not in a slow test that few run
PLACES = {step: nights.place(step) for step in nights.STEPS}
# what a clock or the kernel says is never the same twice
MEASURED = ("max_latency_ms", "max_memory_mb")
TRAINING = [step for step in nights.STEPS if step.startswith("training")]


@dataclass(frozen=True)
class Undisturbed:
    """A home whose night nobody disturbed, and how that night ended."""

    home: Home
    end: dict[str, Any]


@pytest.fixture(scope="module")
def many_nights() -> Iterator[Nights]:
    process = Nights(nights.prefect_server())
    yield process
    process.close()


@pytest.fixture(scope="module")
def undisturbed(many_nights: Nights, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    home = new_home(tmp_path_factory.mktemp("undisturbed") / "home")
    assert many_nights.live(home) == 0, log_of(home)
    return Undisturbed(home, end_of(home))


def new_home(root: Path) -> Home:
    home = nights.make_home(root)
    nights.drop(home, "day-000.jsonl", nights.first_rows())
    return home


def log_of(home: Home) -> str:
    return (home.root / "night.log").read_text()[-3_000:]


def end_of(home: Home) -> dict[str, Any]:
    """All that must not depend on whether the night was disturbed."""
    with open_store(home.warehouse) as store:
        (night,) = night_runs.nights(store, CASE.name)
        counts = store.counts(CASE.name)
        reactions = store.reactions(CASE.name)
        answers = contender_scores.scores(store, CASE.name, str(night.digest))
    registry = Registry(home)
    versions = registry.client.search_model_versions(f"name = '{CASE.name}'")
    return {
        "outcome": night.outcome,
        "as_of": night.as_of,
        "reasons": [r for r in night.reasons if r.rule not in MEASURED],
        "snapshot_id": night.snapshot_id,
        "digest": night.digest,
        "baselines": night.facts["baselines"],
        "counts": counts,
        "reactions": [reaction.feedback_id for reaction in reactions],
        "answers": answers,
        "versions": [(str(version.version), version.tags["digest"]) for version in versions],
        "aliases": {
            alias: version and (version.version, version.digest)
            for alias in (CHAMPION, CHALLENGER)
            for version in [registry.by_alias(CASE.name, alias)]
        },
        "promotions": champions(home, CASE.name),
        "on the way": [version.version for version in versions if MOVING in version.tags],
        "inbox": sorted(p.name for p in home.inbox(CASE.name).glob("*") if p.is_file()),
        "snapshots": sorted(p.name for p in home.snapshots.glob("[!.]*")),
        "adapters": sorted(p.name for p in home.adapters.glob("[!.]*")),
    }


def test_an_undisturbed_night_promotes_and_keeps_every_row(undisturbed: Undisturbed) -> None:
    end, rows = undisturbed.end, nights.first_rows()
    assert end["outcome"] == "promoted"
    assert sorted(end["reactions"]) == sorted(row["feedback_id"] for row in rows)
    assert end["counts"] == {
        "ingested": len(rows),
        "quarantined": 0,
        "parked": 0,
        "waiting": 0,
    }
    assert end["versions"] == [("1", end["digest"])]
    assert end["aliases"] == dict.fromkeys((CHAMPION, CHALLENGER), ("1", end["digest"]))
    assert [(p.action, p.version, p.before) for p in end["promotions"]] == [("promoted", "1", None)]
    assert end["on the way"] == []
    assert end["inbox"] == []
    assert end["snapshots"] == [end["snapshot_id"]]
    assert len(end["adapters"]) == 1


@pytest.mark.parametrize("step", PLACES)
def test_a_killed_night_lived_again_ends_the_same(
    step: str, undisturbed: Undisturbed, many_nights: Nights, tmp_path: Path
) -> None:
    home = new_home(tmp_path / "home")
    if step not in TRAINING:
        # what was trained there is what would be trained here: it saves ten seconds
        shutil.copytree(undisturbed.home.adapters, home.adapters)
    if step == "training, in the child":
        assert many_nights.live(home, step) == 1, "a night without a model must fail"
        assert "TrainingFailed" in log_of(home)
    else:
        assert many_nights.live(home, step) == KILLED, log_of(home)
        assert not (home.root / "night.json").exists()
    assert many_nights.live(home) == 0, log_of(home)
    assert end_of(home) == undisturbed.end
    with woken_orphan(home):
        assert_adapter_is_whole(home, undisturbed.end["digest"])


@contextlib.contextmanager
def woken_orphan(home: Home) -> Iterator[None]:
    """Let a training process that outlived its night come to its end, if there is one."""
    note = home.root / nights.ORPHAN
    if note.is_file():
        pid = int(note.read_text())
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
            while alive(pid):
                time.sleep(0.05)
    yield


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def assert_adapter_is_whole(home: Home, digest: str) -> None:
    (folder,) = home.adapters.iterdir()
    assert adapter_folder.read_trained(folder).digest == digest
    assert fingerprint.of(CASE, home.models / CASE.training.base, folder).digest == digest


def test_every_step_of_a_night_is_killed(undisturbed: Undisturbed) -> None:
    """The kills cover the flow: each task that the night calls has at least one."""
    called = {
        "ingest", "curate_snapshot", "fetch_bases", "train_slate", "ask_ledger", "examine",
        "score_baselines", "register", "verify_served", "move_champion",
        "settle_trial", "record_night",
    }  # fmt: skip
    killed = {name for module, name, _ in nights.STEPS.values() if module == "flows.retrain"}
    assert called == killed
