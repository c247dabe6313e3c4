"""Every test has its own home and no telemetry; nothing reads the developer's state."""

from __future__ import annotations

import atexit
import gc
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, MutableMapping
from pathlib import Path

import pytest
from hypothesis import settings

from flywheel.config import Home, UseCase, load_use_case
from flywheel.store import open_store
from tests.examples import USUAL
from tests.tiny import LABELS, make_tiny_base, make_tiny_encoder

# what `make` or the shell has set is not for tests
for name in [*os.environ]:
    if name.startswith(("FLYWHEEL_", "MLFLOW_", "PREFECT_")):
        del os.environ[name]
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["DO_NOT_TRACK"] = "1"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
# nor what `make deploy` left for ``prefect`` in the project's folder
os.environ["PREFECT_PROFILES_PATH"] = os.devnull
os.environ["PREFECT_LOGGING_LEVEL"] = "WARNING"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# to convert a model takes seconds; tests of that ask for it
os.environ["FLYWHEEL_RUNTIME"] = "torch"
# before torch is imported: two processes with a thread each are faster than one with two
os.environ["OMP_NUM_THREADS"] = "1"

# no claim of ours is about how long one example takes
settings.register_profile("flywheel", deadline=None, max_examples=USUAL)
# `make test-thorough`
settings.register_profile("thorough", deadline=None, max_examples=1_000)
settings.load_profile("flywheel")

ROOT = Path(__file__).resolve().parent.parent
IN_MEMORY = Path("/dev/shm")
ROOM_BYTES = 8 * 2**30


def lie_in_memory(environ: MutableMapping[str, str]) -> None:
    """Let what tests write lie in memory where there is room.

    A night has hundreds of commits, each synced to the disk: most of a commit's time is that.
    It goes away with the run, for it is gigabytes; ``TMPDIR=/tmp`` keeps it to be looked at.
    """
    if not {"TMPDIR", "PYTEST_DEBUG_TEMPROOT"}.isdisjoint(environ):
        return
    said = re.search(r"^MemAvailable:\s+(\d+) kB$", _meminfo(), re.MULTILINE)
    if said is None or int(said[1]) * 1024 < ROOM_BYTES:
        return
    if os.access(IN_MEMORY, os.W_OK) and shutil.disk_usage(IN_MEMORY).free >= ROOM_BYTES:
        folder = tempfile.mkdtemp(prefix="pytest-flywheel-", dir=IN_MEMORY)
        environ["TMPDIR"] = environ["PYTEST_DEBUG_TEMPROOT"] = folder
        atexit.register(shutil.rmtree, folder, ignore_errors=True)


def _meminfo() -> str:
    path = Path("/proc/meminfo")
    return path.read_text() if path.is_file() else ""


lie_in_memory(os.environ)

# what is dear to set up: a Prefect server, and torch with a tiny base and homes to copy
DEAR = ("prefect", "model")
SLOW_S = 1_500
"""What a slow test may take that names no limit of its own; beside other work it is the double."""


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Iterator[None]:
    """Let what is dear be set up in one of several processes only, and begin with it.

    A file stays in one process, and so do all files that have a test with the same `DEAR` marker;
    but a journey takes so long that each may go to whoever is free.
    """
    groups: dict[Path, str] = {}
    for marker in reversed(DEAR):
        groups |= {item.path: marker for item in items if item.get_closest_marker(marker)}
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(SLOW_S))
        journey = item.path.parent.name == "journeys" and item.get_closest_marker("slow")
        group = item.name if journey else groups.get(item.path, item.path.stem)
        item.add_marker(pytest.mark.xdist_group(group))
    yield
    # what cannot be grouped is set up in every process, and takes twice the time
    if config.getoption("loadgroup", False) and any("@" not in item.nodeid for item in items):
        raise pytest.UsageError("pytest-xdist groups no tests with this version of pytest")
    order = {marker: place for place, marker in enumerate(DEAR)}
    items.sort(key=lambda item: order.get(groups.get(item.path, ""), len(DEAR)))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say which order the tests ran in: ``-q`` hides the header where its plug-in says so."""
    seed = config.getoption("randomly_seed", None)
    if isinstance(seed, int):
        terminalreporter.write_line(f"order and chance: again with --randomly-seed={seed}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Forget whose home and registry the test before was about: MLflow leaves that in the shell's
    variables, where the next home would take it for what its user has set."""
    for name in ("FLYWHEEL_HOME", "MLFLOW_TRACKING_URI"):
        os.environ.pop(name, None)


@pytest.fixture(scope="module", autouse=True)
def _libraries_are_no_garbage() -> None:
    """Keep what is imported so far out of later collections.

    Every model that is given back is followed by one, and beside torch, transformers, MLflow and
    Prefect each would look at more than a million objects that stay.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def _empty_warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("warehouse") / "warehouse.duckdb"
    with open_store(path):
        pass
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, _empty_warehouse: Path) -> Home:
    """A flywheel home with an empty warehouse, which is quicker copied than made, and no more."""
    monkeypatch.setenv("FLYWHEEL_HOME", str(tmp_path / "home"))
    # set first, so that whatever a test leaves there goes away with it
    for name in ("MLFLOW_TRACKING_URI", "PREFECT_HOME", "PREFECT_SERVER_UI_STATIC_DIRECTORY"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    home = Home()
    home.root.mkdir()
    shutil.copy(_empty_warehouse, home.warehouse)
    return home


@pytest.fixture
def use_case() -> UseCase:
    """The default use case, which trains for two epochs, however few rows there are."""
    found = load_use_case("product-reviews", folder=ROOT / "usecases")
    short = found.training.model_copy(update={"min_steps": 0})
    return found.model_copy(update={"training": short})


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny causal base that knows the default use case's labels. No test may change it."""
    return make_tiny_base(tmp_path_factory.mktemp("base") / "tiny", labels=LABELS)


@pytest.fixture(scope="session")
def spread_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with weights far enough apart that it is sure of something."""
    return make_tiny_base(tmp_path_factory.mktemp("spread") / "tiny", labels=LABELS, spread=0.2)


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny encoder. No test may change it."""
    return make_tiny_encoder(tmp_path_factory.mktemp("encoder") / "encoder")
