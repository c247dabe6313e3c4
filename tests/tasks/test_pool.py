"""Training on the GPU pool: asked for once, found again, and done only when it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import prefect.client.orchestration
import prefect.deployments
import pytest
import yaml
from prefect.client.schemas.objects import State, WorkPoolStatus
from prefect.events.schemas.automations import Posture
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Completed, Crashed, Failed, Pending, Running, Scheduled

import flows.train
import tasks.coordination.work_pool
from flows.watchdog import NAME, SILENCE, watchdog
from flywheel.catalog import base_models
from flywheel.config import Home, UseCase
from flywheel.errors import PoolUnusable, TrainingFailed
from flywheel.records import Snapshot, Trained
from flywheel.training import adapter_folder
from tasks.coordination.work_pool import ATTEMPTS as POOL_ATTEMPTS
from tasks.coordination.work_pool import DECISION, NIGHT, Patience, run_in_pool
from tasks.train import POOL_DEPLOYMENT, adapter_key, train_on_pool
from tests.nights import CASE, ROOT

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
SNAPSHOT = Snapshot("5" * 32, 40, 5, 20)
TRAINED = Trained(
    adapter_dir="/somewhere/on/the/gpu/machine",
    digest="d" * 64,
    train_examples=40,
    train_seconds=3.5,
    peak_memory_mb=700.0,
    tokens_per_second=1_000.0,
    final_loss=0.2,
)


@dataclass
class Pool:
    """Stands for Prefect: runs end in the given states, each call is noted."""

    states: list[State[Any]]
    on_call: Callable[[], None] = lambda: None
    earlier: int = 0
    """How many of them ended on an earlier night."""

    def __post_init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, name: str, **options: Any) -> Any:
        self.calls.append((name, options))
        self.on_call()
        number = len(self.calls) - 1
        created = LONG_AGO if number < self.earlier else datetime.now(UTC)
        return SimpleNamespace(state=self.states[number], created=created)

    @property
    def keys(self) -> list[str]:
        return [options["idempotency_key"] for _, options in self.calls]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with a base that has a hash and nothing else."""
    home = Home(tmp_path)
    base = home.models / CASE.training.base
    base.mkdir(parents=True)
    (base / "weights").write_text("weights")
    manifest = {"name": "tiny", "source_sha256": "", "files": base_models.file_hashes(base)}
    (base / base_models.MANIFEST).write_text(json.dumps(manifest))
    return home


def key_of(home: Home, use_case: UseCase = CASE, snapshot: Snapshot = SNAPSHOT) -> str:
    return adapter_key(use_case, snapshot, base_models.base_sha256(home.models / "tiny"))


def finish(home: Home) -> Path:
    """Leave the adapter where the GPU worker leaves it."""
    folder = home.adapters / key_of(home)
    folder.mkdir(parents=True)
    (folder / adapter_folder.COMPLETE).write_text(json.dumps(asdict(TRAINED)))
    return folder


def run_on(pool: Pool, home: Home, patch: pytest.MonkeyPatch) -> Trained:
    patch.setattr(prefect.deployments, "run_deployment", pool)
    return train_on_pool.fn(CASE, home, SNAPSHOT)


def test_the_adapter_is_read_from_the_shared_home(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool([Completed()], on_call=lambda: finish(home) and None)
    trained = run_on(pool, home, monkeypatch)
    assert asdict(trained) == asdict(TRAINED) | {"adapter_dir": str(home.adapters / key_of(home))}


def test_the_deployment_gets_what_its_flow_takes(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(home)
    pool = Pool([Completed()])
    run_on(pool, home, monkeypatch)
    ((name, options),) = pool.calls
    assert name == POOL_DEPLOYMENT == "train/gpu"
    assert options["idempotency_key"] == f"train-{key_of(home)}-0"
    assert options["timeout"] == NIGHT.worker_s, "then it is asked whether a worker began it"
    sent = json.loads(json.dumps(options["parameters"]))
    taken = flows.train.train.validate_parameters(sent)
    assert UseCase.model_validate(taken["use_case"]) == CASE
    assert taken["snapshot_id"] == SNAPSHOT.snapshot_id


def test_the_deployment_exists_in_the_gpu_pool() -> None:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    flow_name, _, deployment_name = POOL_DEPLOYMENT.partition("/")
    (gpu,) = (each for each in deployments if each["name"] == deployment_name)
    assert gpu["entrypoint"] == "flows.train.train"
    assert flows.train.train.name == flow_name
    assert gpu["work_pool"]["name"] == "gpu"


@pytest.mark.parametrize("end", [Failed, Crashed, Cancelled])
def test_a_run_that_did_not_complete_is_tried_again_under_another_key(
    end: Callable[[], State[Any]], home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(home)
    pool = Pool([end(), Completed()])
    assert run_on(pool, home, monkeypatch).digest == TRAINED.digest
    assert pool.keys == [f"train-{key_of(home)}-0", f"train-{key_of(home)}-1"]


def test_when_every_attempt_fails_so_does_the_training(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a complete adapter from another time must not hide that this training failed
    pool = Pool([Failed(), Crashed(), Failed()])
    with pytest.raises(TrainingFailed, match="the champion is unchanged"):
        run_on(pool, home, monkeypatch)
    assert len(set(pool.keys)) == POOL_ATTEMPTS == 3


def test_runs_that_failed_on_an_earlier_night_do_not_count_tonight(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    old: list[State[Any]] = [Failed() for _ in range(POOL_ATTEMPTS)]
    pool = Pool([*old, Failed(), Completed()], earlier=len(old))
    finish(home)
    assert run_on(pool, home, monkeypatch).digest == TRAINED.digest
    assert len(pool.calls) == POOL_ATTEMPTS + 2


@pytest.mark.parametrize("left", [None, '{"digest": "d'])
def test_an_adapter_that_is_gone_or_damaged_is_trained_anew(
    home: Home, monkeypatch: pytest.MonkeyPatch, left: str | None
) -> None:
    """The run of an earlier night completed, and its key names it for ever."""
    folder = home.adapters / key_of(home)
    if left is not None:
        folder.mkdir(parents=True)
        (folder / adapter_folder.COMPLETE).write_text(left)

    def work() -> None:
        if len(pool.calls) == 2:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / adapter_folder.COMPLETE).write_text(json.dumps(asdict(TRAINED)))

    pool = Pool([Completed(), Completed()], on_call=work, earlier=1)
    assert run_on(pool, home, monkeypatch).digest == TRAINED.digest


def test_a_pool_without_the_shared_home_is_found_out(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TrainingFailed, match="FLYWHEEL_HOME"):
        run_on(Pool([Completed()]), home, monkeypatch)


@dataclass
class Server:
    """Stands for Prefect: one run that goes through ``states``, in a pool of ``status``."""

    states: list[State[Any]]
    status: WorkPoolStatus = WorkPoolStatus.NOT_READY

    def __post_init__(self) -> None:
        self.deleted: list[str] = []

    def __call__(self, *_: Any, **__: Any) -> Any:
        return nullcontext(self)

    def read_flow_run(self, name: str) -> Any:
        state = self.states.pop(0)
        return SimpleNamespace(
            id=name, state=state, created=datetime.now(UTC), work_pool_name="big-gpus"
        )

    def read_work_pool(self, name: str) -> Any:
        assert name == "big-gpus"
        return SimpleNamespace(status=self.status)

    def delete_flow_run(self, name: str) -> None:
        self.deleted.append(name)

    def ask(self, patch: pytest.MonkeyPatch, patience: Patience) -> bool:
        patch.setattr(prefect.client.orchestration, "get_client", self)
        patch.setattr(tasks.coordination.work_pool, "_POLL_S", 0.0)
        patch.setattr(
            prefect.deployments, "run_deployment", lambda *_, **__: self.read_flow_run("run")
        )
        return run_in_pool(POOL_DEPLOYMENT, {}, key="k", patience=patience)


@pytest.mark.parametrize("state", [Scheduled, Pending])
@pytest.mark.parametrize("patience", [NIGHT, DECISION])
def test_a_pool_without_a_worker_is_given_up_in_a_sentence(
    state: Callable[[], State[Any]], patience: Patience, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server([state()])
    with pytest.raises(PoolUnusable) as raised:
        server.ask(monkeypatch, patience)
    assert "No worker of the work pool big-gpus took the run" in raised.value.message
    assert "make worker POOL=big-gpus" in raised.value.message
    assert server.deleted == ["run"], "a worker that starts later must not begin it"


def test_a_paused_pool_is_said_to_be_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PoolUnusable, match="prefect work-pool resume big-gpus"):
        Server([Scheduled()], WorkPoolStatus.PAUSED).ask(monkeypatch, NIGHT)


def test_a_night_waits_in_line_and_a_decision_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    in_line = [Scheduled(), Scheduled(), Pending(), Running(), Completed()]
    assert Server(in_line, WorkPoolStatus.READY).ask(monkeypatch, NIGHT)
    with pytest.raises(PoolUnusable, match="Every worker of the work pool big-gpus was busy"):
        Server([Scheduled()], WorkPoolStatus.READY).ask(monkeypatch, DECISION)


def test_a_wait_in_line_is_said_and_has_an_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="tasks.coordination.work_pool")
    server = Server([Scheduled(), Scheduled(), Completed()], WorkPoolStatus.READY)
    assert server.ask(monkeypatch, NIGHT)
    (said,) = caplog.messages
    assert said.startswith("the worker of the work pool big-gpus is busy; the run has waited for")
    assert "given up after 6.0 hours" in said
    waited = Patience(worker_s=NIGHT.line_s + 1, line_s=NIGHT.line_s)
    server = Server([Scheduled()], WorkPoolStatus.READY)
    with pytest.raises(PoolUnusable, match=r"was busy for 6\.0 hours: wait for one"):
        server.ask(monkeypatch, waited)
    assert server.deleted == ["run"]


def test_a_worker_that_goes_away_meanwhile_has_time_to_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_line = [Scheduled(), Scheduled(), Scheduled(), Running(), Completed()]
    server = Server(in_line, WorkPoolStatus.READY)
    seen = [WorkPoolStatus.READY, WorkPoolStatus.NOT_READY, WorkPoolStatus.READY]
    monkeypatch.setattr(
        server, "read_work_pool", lambda _: SimpleNamespace(status=seen.pop(0)), raising=True
    )
    assert server.ask(monkeypatch, NIGHT)


def test_what_a_worker_began_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server([Running(), Running(), Completed()])
    assert server.ask(monkeypatch, DECISION)
    assert server.deleted == []


def test_a_server_without_the_deployment_says_how_it_is_made(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise ObjectNotFound(http_exc=ValueError("404"))

    monkeypatch.setattr(prefect.deployments, "run_deployment", unknown)
    with pytest.raises(PoolUnusable, match=r"no deployment train/gpu.*make deploy"):
        train_on_pool.fn(CASE, home, SNAPSHOT)


def test_the_same_night_asks_for_the_same_run_and_another_for_another(home: Home) -> None:
    def variant(**changes: Any) -> UseCase:
        recipe = CASE.training.model_copy(update=changes)
        return CASE.model_copy(update={"training": recipe})

    same = [
        key_of(home),
        key_of(home, variant(where="pool", min_examples=3, min_per_class=2)),
        key_of(home, snapshot=Snapshot(SNAPSHOT.snapshot_id, 0, 0, 0)),
        key_of(home, CASE.model_copy(update={"description": "in other words"})),
    ]
    assert len(set(same)) == 1
    others = [
        key_of(home, snapshot=Snapshot("6" * 32, 40, 5, 20)),
        key_of(home, variant(seed=1)),
        key_of(home, variant(epochs=7)),
        key_of(home, variant(learning_rate=1e-4)),
        key_of(home, variant(lora_rank=2)),
        key_of(home, CASE.model_copy(update={"prompt": "{text}"})),
        key_of(home, CASE.model_copy(update={"labels": dict(reversed(CASE.labels.items()))})),
        adapter_key(CASE, SNAPSHOT, "another base"),
    ]
    assert len({*same, *others}) == 1 + len(others)


def test_the_watchdog_marks_silent_runs_crashed_and_leaves_ended_ones() -> None:
    automation = watchdog()
    trigger: Any = automation.trigger
    beat = "prefect.flow-run.heartbeat"
    # Prefect names the event of an end as it names the end
    names = ("Completed", "Failed", "Cancelled", "Crashed", "Promoted", "Awaiting approval")
    names += ("Rejected", "Undecided", "Skipped")
    ends = {f"prefect.flow-run.{end}" for end in names}
    assert automation.name == NAME
    assert automation.enabled
    assert trigger.posture == Posture.Proactive, "it waits for something that does not come"
    assert trigger.after == {beat}
    assert trigger.expect == {beat} | ends
    assert trigger.match.root == {"prefect.resource.id": ["prefect.flow-run.*"]}
    assert trigger.for_each == {"prefect.resource.id"}, "one silent run does not end the others"
    assert trigger.within == SILENCE
    assert trigger.threshold == 1
    (action,) = automation.actions
    assert action.type == "change-flow-run-state"
    assert action.state.value == "CRASHED"


def test_the_watchdog_waits_for_more_than_one_lost_heartbeat() -> None:
    from prefect.settings import get_current_settings

    beats = get_current_settings().flows.heartbeat_frequency
    assert beats is not None
    assert SILENCE.total_seconds() >= 2 * beats
