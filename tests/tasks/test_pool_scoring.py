"""Scoring on the GPU pool: the same answers, and no text in what Prefect keeps."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import prefect.deployments
import pytest
import yaml
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

import flows.score
from flywheel.catalog import memory
from flywheel.config import Home, UseCase
from flywheel.dataset import snapshots
from flywheel.errors import DigestMismatch, ScoringFailed
from flywheel.modeling import fingerprint, scoring_jobs
from flywheel.modeling.fingerprint import Fingerprint
from flywheel.modeling.scoring_jobs import Scored
from flywheel.records import Curated, Example
from flywheel.store import open_store
from flywheel.store.nights import contender_scores
from tasks.coordination.work_pool import ATTEMPTS
from tasks.evaluate import ask, examine
from tasks.score import POOL_DEPLOYMENT, score_job, score_on_pool
from tests import nights
from tests.nights import CASE, ROOT
from tests.tiny import make_tiny_base

pytestmark = pytest.mark.model

EXPECTED = Fingerprint("0" * 64, {"torch": "1"})
TEXTS = {f"row-{i}": f"the {nights.SECRET} works {i}" for i in range(3)}
POOLED = CASE.model_copy(update={"training": CASE.training.model_copy(update={"where": "pool"})})


@dataclass
class Worker:
    """Stands for Prefect: each run is done in this process, or fails as often as it is told."""

    home: Home
    failures: int = 0
    told: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, name: str, *, parameters: dict[str, Any], **options: Any) -> Any:
        assert name == POOL_DEPLOYMENT
        self.told.append(parameters)
        state: State[Any] = Completed()
        if len(self.told) <= self.failures:
            state = Failed()
        else:
            taken = flows.score.score.validate_parameters(json.loads(json.dumps(parameters)))
            score_job.fn(UseCase.model_validate(taken["use_case"]), self.home, taken["job"])
        return SimpleNamespace(state=state, created=datetime.now(UTC))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = nights.make_home(tmp_path / "home")
    with nights.living_in(home):
        yield home


def ask_by(worker: Worker, patch: pytest.MonkeyPatch) -> dict[str, dict[str, float]]:
    patch.setattr(prefect.deployments, "run_deployment", worker)
    return ask(POOLED, worker.home, None, TEXTS, name="the base")


def test_the_pool_answers_as_this_process_does(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    by_pool = ask_by(Worker(home), monkeypatch)
    other = nights.make_home(home.root.parent / "other")
    assert by_pool == ask(CASE, other, None, TEXTS, name="the base")


def test_the_memory_judged_is_that_of_who_answered(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not that of the night's process, which loads no model, and would meet any budget."""

    class Large(Worker):
        def __call__(self, name: str, *, parameters: dict[str, Any], **options: Any) -> Any:
            done = super().__call__(name, parameters=parameters, **options)
            folder = self.home.scoring / parameters["job"]
            told = scoring_jobs.answers(folder)
            assert told.peak_memory_mb == pytest.approx(memory.peak_mb(), rel=0.2)
            scoring_jobs.finish(folder, replace(told, peak_memory_mb=77_000.0))
            return done

    rows = tuple(
        Example(row, text, "positive", 1.0, row, "holdout", (row,)) for row, text in TEXTS.items()
    )
    snapshot = snapshots.write(Curated(rows, ()), home.snapshots)
    monkeypatch.setattr(prefect.deployments, "run_deployment", Large(home))
    for _ in ("asked", "known"):
        found = examine.fn(POOLED, home, snapshot, None, name="the base")
        assert found.memory_mb == 77_000.0


def test_no_text_is_in_what_prefect_keeps(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(home)
    ask_by(worker, monkeypatch)
    assert nights.SECRET not in json.dumps(worker.told)
    assert "golden" not in worker.told[0]["use_case"]


@pytest.mark.parametrize("failures", [0, ATTEMPTS - 1])
def test_no_text_stays_on_its_way(
    failures: int, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_by(Worker(home, failures), monkeypatch)
    assert [path for path in home.scoring.rglob("*") if path.is_file()] == []


def test_when_every_attempt_fails_nothing_is_scored(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ScoringFailed, match="the champion is unchanged"):
        ask_by(Worker(home, ATTEMPTS), monkeypatch)
    assert [path for path in home.scoring.rglob("*") if path.is_file()] == []


def test_a_job_that_a_killed_night_left_goes_with_the_next(tmp_path: Path) -> None:
    scoring_jobs.write(tmp_path / "reviews" / "old", TEXTS, None, EXPECTED)
    scoring_jobs.write(tmp_path / "reviews" / "new", TEXTS, None, EXPECTED)
    assert [path.name for path in (tmp_path / "reviews").iterdir()] == ["new"]
    assert (tmp_path / "reviews" / "new" / "texts.json").stat().st_mode & 0o077 == 0


def test_answers_from_before_a_kill_are_not_asked_again(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(home)
    expected = ask_by(worker, monkeypatch)
    folder = home.scoring / worker.told[0]["job"]
    scoring_jobs.write(folder, TEXTS, None, EXPECTED)
    scoring_jobs.finish(folder, Scored(expected, 1.0, 9.0))
    digest = fingerprint.of(POOLED, home.models / CASE.training.base, None).digest
    assert score_on_pool(POOLED, home, None, TEXTS, digest=digest).answers == expected
    assert len(worker.told) == 1


def test_a_completed_run_without_answers_is_no_answer(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[str] = []

    def elsewhere(name: str, **options: Any) -> Any:
        runs.append(options["idempotency_key"])
        return SimpleNamespace(state=Completed(), created=datetime.now(UTC))

    monkeypatch.setattr(prefect.deployments, "run_deployment", elsewhere)
    with pytest.raises(ScoringFailed, match="share FLYWHEEL_HOME"):
        ask(POOLED, home, None, TEXTS, name="the base")
    assert len(set(runs)) == ATTEMPTS


def test_a_worker_with_another_base_scores_nothing(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = nights.make_home(home.root.parent / "other")
    assert CASE.training.base is not None
    shutil.rmtree(other.models / CASE.training.base)
    make_tiny_base(other.models / CASE.training.base, labels=CASE.label_names, seed=1)
    other.scoring.symlink_to(home.scoring)
    home.scoring.mkdir()
    worker = Worker(other)
    monkeypatch.setattr(prefect.deployments, "run_deployment", worker)
    with pytest.raises(DigestMismatch, match="base: measured"):
        ask(POOLED, home, None, TEXTS, name="the base")
    with open_store(home.warehouse) as store:
        digest = fingerprint.of(POOLED, home.models / CASE.training.base, None).digest
        assert contender_scores.scores(store, CASE.name, digest) == {}


def test_an_adapter_travels_with_its_job(tmp_path: Path) -> None:
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    scoring_jobs.write(tmp_path / "reviews" / "job", TEXTS, weights.parent, EXPECTED)
    found = scoring_jobs.adapter(tmp_path / "reviews" / "job")
    assert found is not None
    assert (found / weights.name).read_bytes() == b"weights"


def test_the_deployment_exists_in_the_gpu_pool() -> None:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    flow_name, _, deployment_name = POOL_DEPLOYMENT.partition("/")
    (found,) = (each for each in deployments if each["name"] == deployment_name)
    assert found["entrypoint"] == "flows.score.score"
    assert flows.score.score.name == flow_name
    assert found["work_pool"]["name"] == "gpu"
