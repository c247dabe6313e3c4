"""A small world to live nights in: an invented use case, a tiny base, feedback that can be learned.

    python -m tests.nights

reads ``HOME STEP`` lines and lives one night for each in a forked child, which is killed with
SIGKILL at STEP (`STEPS`; ``none`` lets it end); the child's exit code is printed, -9 when killed.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import json
import os
import pkgutil
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flywheel import subprocesses
from flywheel.config import Home, UseCase
from flywheel.dataset import splits
from flywheel.modeling.methods import qlora
from flywheel.modeling.verbalizer import verbalizer
from flywheel.store import open_store
from flywheel.tracking.registry import Registry
from flywheel.tracking.version_tags import VersionTags
from flywheel.tracking.versions import Version
from flywheel.training import adapter_folder, child
from tasks.champion import trusted_versions
from tests.tiny import make_tiny_base

ROOT = Path(__file__).resolve().parent.parent
AS_OF = datetime(2026, 3, 1, 2, 30, tzinfo=UTC)
DAY = timedelta(days=1)
# in every text; must never be seen in a log or on an operator's page
SECRET = "quokka"

CASE = UseCase.model_validate(
    {
        "name": "tiny-reviews",
        "kind": "text-classification",
        "description": "Is the customer happy? Invented sentences.",
        # not in the order of the alphabet, which is that of every file that sorts its keys
        "labels": {"positive": "happy", "negative": "unhappy"},
        "prompt": "Review: {text}\nSentiment:",
        "split": {"salt": "tiny-1", "holdout": 0.4, "validation": 0.1},
        # the texts differ in a number only, and that number is what tells them apart
        "curation": {"gold_sources": ["gold"], "near_duplicates": 1, "max_customer_share": 1},
        "training": {
            "base": "tiny",
            "min_examples": 20,
            "epochs": 6,
            "min_steps": 0,
            "batch_size": 8,
            "learning_rate": 5e-3,
            "lora_rank": 4,
            "lora_alpha": 8,
            "max_length_tokens": 32,
        },
        "gate": {"min_holdout_examples": 40, "min_accuracy": 0.6},
    }
)

# the words that tell the class: the first topic is fed back before the first night; the second
# means the opposite of what the tiny base makes of these words after learning the first
TOPICS = (
    {"positive": "works", "negative": "broke"},
    {"positive": "bad", "negative": "fine"},
)
GROUPS = 120
SERVER_START_S = 120

# ---- Homes and feedback


@functools.cache
def _template() -> Path:
    """A home that is set up and has seen nothing: the tiny base, and nothing in its databases."""
    from mlflow import MlflowClient

    folder = Path(tempfile.mkdtemp(prefix="flywheel-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    make_tiny_base(Home(folder).models / CASE.training.base, labels=CASE.label_names)
    MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_experiments()
    with open_store(Home(folder).warehouse):
        pass
    return folder


def make_home(root: Path) -> Home:
    """A new home that has seen nothing, with the tiny base and an empty registry."""
    shutil.copytree(_template(), root)
    return Home(root)


@functools.cache
def prefect_server() -> str:
    """Start Prefect's test server once for all tests of a run; returns its API's URL."""
    from prefect.settings import (
        PREFECT_API_AUTH_STRING,
        PREFECT_API_URL,
        PREFECT_SERVER_API_AUTH_STRING,
        temporary_settings,
    )
    from prefect.testing.utilities import prefect_test_harness

    stack = ExitStack()
    # commands of homes to come must get in, whichever home a test was about before
    strings = {PREFECT_API_AUTH_STRING, PREFECT_SERVER_API_AUTH_STRING}
    for one in strings:
        os.environ.pop(one.name, None)
    stack.enter_context(temporary_settings(restore_defaults=strings))
    stack.enter_context(prefect_test_harness(server_startup_timeout=SERVER_START_S))
    atexit.register(stack.close)
    _retry_at_once()
    return str(PREFECT_API_URL.value())


def _retry_at_once() -> None:
    """Let no task of this process wait before it tries again."""
    from prefect import Task

    import tasks

    for found in pkgutil.iter_modules(tasks.__path__, "tasks."):
        for one in vars(importlib.import_module(found.name)).values():
            if isinstance(one, Task):
                one.retry_delay_seconds = 0


def first_rows() -> list[dict[str, Any]]:
    """What is known before the first night: the holdout, and the first topic's labels."""
    return gold_rows() + seed_rows(topic=0)


def gold_rows() -> list[dict[str, Any]]:
    """A gold label for every text of the holdout's groups, of both topics."""
    return [
        _label(group, topic, source="gold")
        for topic in range(len(TOPICS))
        for group in _groups("holdout", topic)
    ]


def seed_rows(*, topic: int) -> list[dict[str, Any]]:
    """A label from one person for every text of a topic that may be learned from."""
    return [_label(group, topic, source="app") for group in _groups("train", topic)]


def drop(home: Home, name: str, rows: list[dict[str, Any]]) -> None:
    """Put a feedback file into the inbox."""
    inbox = home.inbox(CASE.name)
    inbox.mkdir(parents=True, exist_ok=True)
    (inbox / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def drop_into(home: Home, case: UseCase, rows: list[dict[str, Any]], *, night: int = 0) -> None:
    """Put feedback that was given before a night (counted from 0) into a use case's inbox."""
    given_at = (AS_OF + night * DAY - timedelta(hours=1)).isoformat()
    drop_rows(home, case, f"day-{night}.jsonl", [{**row, "given_at": given_at} for row in rows])


def drop_rows(home: Home, case: UseCase, name: str, rows: list[dict[str, Any]]) -> None:
    """Put rows as they are into a use case's inbox."""
    inbox = home.inbox(case.name)
    inbox.mkdir(parents=True, exist_ok=True)
    (inbox / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def text_of(group: int, topic: int) -> tuple[str, str]:
    """A text and the label it deserves; the order number makes each text another one."""
    label = sorted(CASE.label_names)[group % 2]
    return f"the {SECRET} of order {group} {TOPICS[topic][label]}", label


def _groups(side: str, topic: int) -> list[int]:
    """Every customer writes about the first topic, a third of them about the second."""
    names = {f"customer-{group}": group for group in range(GROUPS)}
    sides = splits.assign_by(CASE.split, names, known={})
    return [
        group
        for name, group in names.items()
        if sides[name] == side and (topic == 0 or group // 2 % 3 == 0)
    ]


def _label(group: int, topic: int, *, source: str) -> dict[str, Any]:
    text, label = text_of(group, topic)
    return {
        "feedback_id": f"{source}-{topic}-{group}",
        "kind": "label",
        "text": text,
        "value": label,
        "group_id": f"customer-{group}",
        "rater_id": f"rater-{group}",
        "source": source,
        "given_at": AS_OF.isoformat(),
    }


class _Here:
    """Stands for `subprocess` in `flywheel.subprocesses`: this process does the child's work."""

    DEVNULL = subprocess.DEVNULL
    PIPE = subprocess.PIPE

    @contextmanager
    def Popen(self, command: list[str], **_: Any) -> Iterator[_Here]:
        child.run(json.loads(Path(command[-1]).read_text()))
        yield self

    def wait(self) -> int:
        return 0


@contextmanager
def training_here() -> Iterator[None]:
    """Train in this process, where the tests are not about the child: saves its imports."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocesses, "subprocess", _Here())
        yield


@contextmanager
def living_in(home: Home) -> Iterator[None]:
    """Make ``home`` the home of this process, with its own registry."""
    names = ("FLYWHEEL_HOME", "MLFLOW_TRACKING_URI")
    before = {name: os.environ.get(name) for name in names}
    os.environ["FLYWHEEL_HOME"] = str(home.root)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


# ---- Versions without a night


def make_adapter(home: Home, folder: Path, *, seed: int = 0, case: UseCase = CASE) -> str:
    """An adapter as training leaves it, but with random weights; returns its digest."""
    import torch

    from flywheel.modeling import fingerprint, model_loading

    base = home.models / str(case.training.base)
    torch.manual_seed(seed)
    model = verbalizer.attach(model_loading.load_quantised(base), qlora.adapter(case.training))
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    verbalizer.save_adapter(model, folder)
    rows = [{"step": step, "loss": 1 / step, "learning_rate": 0.1} for step in (1, 2, 3)]
    (folder / adapter_folder.CURVE).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return fingerprint.of(case, base, folder).digest


def register(
    home: Home, adapter: Path, digest: str, *, champion_before: str = "none", case: UseCase = CASE
) -> Version:
    """Register an adapter as a night would, which has measured it."""
    version = Registry(home).register(
        case,
        adapter=adapter,
        tags=VersionTags.read(
            {
                "digest": digest,
                "snapshot_id": digest[:32],
                "verdict": "promote",
                "champion_before": champion_before,
            }
        ),
        params={"epochs": 3},
        metrics={"holdout_accuracy": 0.75},
        curve=adapter_folder.read_curve(adapter),
        run_name="a night",
        description="why",
    )
    trusted_versions.remember(home, version, verdict="promote", at=AS_OF)
    return version


# ---- Nights that are killed

# where in a night: module, name in it, before or after the call
STEPS: dict[str, tuple[str, str, str]] = {
    "before ingest": ("flows.retrain", "ingest", "before"),
    "rows ingested, file not moved": ("tasks.ingest", "_retire", "before"),
    "after ingest": ("flows.retrain", "ingest", "after"),
    "snapshot written, not committed": ("flywheel.store", "Store.commit_snapshot", "before"),
    "after curate": ("flows.retrain", "curate_snapshot", "after"),
    "before fetching the base": ("flows.retrain", "fetch_bases", "before"),
    "after fetching the base": ("flows.retrain", "fetch_bases", "after"),
    "training, in the parent": ("flywheel.subprocesses", "subprocess", "parent"),
    "training, in the child": ("flywheel.subprocesses", "subprocess", "child"),
    "after train": ("flows.retrain", "train_slate", "after"),
    "answers made, not stored": ("flywheel.store.nights.contender_scores", "add", "before"),
    "before asking the ledger": ("flows.retrain", "ask_ledger", "before"),
    "asked, not answered": ("flows.retrain", "ask_ledger", "after"),
    "after evaluate": ("flows.retrain", "examine", "after"),
    "after baselines": ("flows.retrain", "score_baselines", "after"),
    "before register": ("flows.retrain", "register", "before"),
    "adapter logged, no version": (
        "flywheel.tracking.registry",
        "Registry._ensure_model",
        "before",
    ),
    "version without an alias": ("flywheel.tracking.registry", "Registry.set_alias", "before"),
    "served as measured, not promoted": ("flows.retrain", "verify_served", "after"),
    "before the alias moves": ("flows.retrain", "move_champion", "before"),
    "on its way, alias not moved": ("tasks.champion.move", "make_champion", "before"),
    "alias moved, not recorded": ("tasks.champion.move", "record", "before"),
    "recorded, still on its way": ("tasks.champion.move", "record", "after"),
    "after the alias moved": ("flows.retrain", "move_champion", "after"),
    "trial not settled": ("flows.retrain", "settle_trial", "before"),
    "before record": ("flows.retrain", "record_night", "before"),
    "recorded, not shown": ("tasks.record", "show_page", "before"),
}
ORPHAN = "orphan.pid"
# every night below starts from a process that has these
IMPORTED_ONCE = (
    "flows.retrain",
    "flywheel.modeling.model_loading",
    "mlflow.pyfunc",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "peft",
    "scipy.stats",
    "sklearn.feature_extraction.text",
    "sklearn.linear_model",
    "transformers.models.llama.modeling_llama",
    # what reads feedback (pyarrow asks for pandas) and doubts it
    "cleanlab.filter",
    "pandas",
)


def die() -> None:
    """End this process as a power cut would: no handler runs."""
    os.kill(os.getpid(), signal.SIGKILL)


def place(step: str) -> tuple[Any, str, str]:
    """What holds the name that is called at ``step``, that name, and when it is to die.

    Raises:
        AttributeError: the code has no such name any more.
    """
    where, name, when = STEPS[step]
    owner: Any = importlib.import_module(where)
    *path, name = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    getattr(owner, name)
    return owner, name, when


def plant(step: str) -> None:
    """Make this process die at ``step``."""
    owner, name, when = place(step)
    if when in ("parent", "child"):
        owner.subprocess = _Trainer(dies=when)
        return
    whole: Callable[..., Any] = getattr(owner, name)

    def deadly(*args: Any, **kwargs: Any) -> Any:
        if when == "after":
            whole(*args, **kwargs)
        die()

    setattr(owner, name, deadly)


class _Trainer:
    """Stands for `subprocess` in `flywheel.subprocesses`: a kill once the child has made a step."""

    DEVNULL = subprocess.DEVNULL
    PIPE = subprocess.PIPE

    def __init__(self, *, dies: str) -> None:
        self.dies = dies

    def Popen(self, command: list[str], **options: Any) -> Any:
        child = subprocess.Popen(command, **options)
        curve = Path(command[-1]).with_name("curve.jsonl")
        while child.poll() is None and not curve.is_file():
            time.sleep(0.002)
        if self.dies == "child":
            child.kill()
            return child
        # asleep, so that it lives on beside the night that is lived again
        child.send_signal(signal.SIGSTOP)
        (Home().root / ORPHAN).write_text(str(child.pid))
        die()
        raise AssertionError("unreachable")


def _live(home: str, step: str) -> None:
    """One night in this process; its outcome is left in ``HOME/night.json``."""
    out = os.open(f"{home}/night.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.environ["FLYWHEEL_HOME"] = home
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    from flows.retrain import flywheel

    if step != "none":
        plant(step)
    night = flywheel(CASE, AS_OF)
    Path(home, "night.json").write_text(json.dumps(night, default=str))


def _serve() -> None:
    for module in IMPORTED_ONCE:
        importlib.import_module(module)
    print("ready", flush=True)
    for line in sys.stdin:
        home, _, step = line.strip().partition(" ")
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                _live(home, step)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


class Nights:
    """Lives nights in processes that may die."""

    def __init__(self, api_url: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.nights"],
            cwd=ROOT,
            env={**os.environ, "PREFECT_API_URL": api_url, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._line() == "ready"

    def live(self, home: Home, step: str = "none") -> int:
        """The exit code of one night in ``home``: -9 when it was killed."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{home.root} {step}\n")
        self.process.stdin.flush()
        return int(self._line())

    def close(self) -> None:
        """Kill whatever still runs."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


if __name__ == "__main__":
    _serve()
