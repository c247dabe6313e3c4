"""The registry says what it knows, and raises when it cannot know."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient

from flywheel.config import Home, UseCase
from flywheel.errors import DataError, DigestMismatch, RegistryUnavailable, VersionGone
from flywheel.tracking.registry import CHALLENGER, CHAMPION, Registry
from flywheel.tracking.versions import Version
from tasks.verify import check_measured
from tests import nights
from tests.nights import CASE

pytestmark = pytest.mark.model

SMALL_BYTES = 3_000_000
QUESTIONS: dict[str, Callable[[Registry], Any]] = {
    "by_alias": lambda registry: registry.by_alias(CASE.name, CHAMPION),
    "by_digest": lambda registry: registry.by_digest(CASE.name, "d"),
    "by_version": lambda registry: registry.by_version(CASE.name, "1"),
    "opponent_of": lambda registry: registry.opponent_of(CASE.name, "d"),
    "set_alias": lambda registry: registry.set_alias(
        Version(CASE.name, "1", "d", "s", Path("nowhere")), CHAMPION
    ),
}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = nights.make_home(tmp_path / "home")
    with nights.living_in(home):
        yield home


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An adapter's folder and digest."""
    place = tmp_path_factory.mktemp("adapter")
    home = nights.make_home(place / "home")
    return place / "adapter", nights.make_adapter(home, place / "adapter")


def test_no_champion_is_a_fact_and_not_an_error(home: Home, adapter: tuple[Path, str]) -> None:
    registry = Registry(home)
    assert registry.by_alias(CASE.name, CHAMPION) is None
    assert registry.by_digest(CASE.name, "d") is None
    assert registry.opponent_of(CASE.name, "d") is None
    version = nights.register(home, *adapter)
    registry.set_alias(version, CHALLENGER)
    assert registry.by_alias(CASE.name, CHAMPION) is None


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow asks once."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("question", QUESTIONS)
def test_a_registry_that_nobody_runs_raises(
    question: str, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(RegistryUnavailable):
        QUESTIONS[question](Registry(home))


@pytest.fixture
def wrong_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """Something that is no registry and answers everything with one status and page."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = b"<html>log in first</html>"
            self.send_response(request.param)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        do_POST = do_GET

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("wrong_server", [200, 403, 404, 500], indirect=True)
@pytest.mark.parametrize("question", ["by_alias", "by_digest", "opponent_of"])
def test_a_server_that_is_no_registry_is_never_taken_for_no_champion(
    question: str, wrong_server: str, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", wrong_server)
    with pytest.raises(RegistryUnavailable):
        QUESTIONS[question](Registry(home))


def test_a_version_holds_the_adapter_and_neither_base_nor_pickles(
    home: Home, adapter: tuple[Path, str]
) -> None:
    nights.register(home, *adapter)
    files = [path for path in home.mlflow_artifacts.rglob("*") if path.is_file()]
    weights = [path for path in files if path.suffix == ".safetensors"]
    assert [path.name for path in weights] == ["adapter_model.safetensors"]
    assert weights[0].read_bytes() == (adapter[0] / "adapter_model.safetensors").read_bytes()
    assert not [p for p in files if p.suffix in {".bin", ".pkl", ".pickle", ".pt", ".pth", ".ckpt"}]
    assert sum(path.stat().st_size for path in files) < SMALL_BYTES


def test_a_version_says_what_it_was_made_of(home: Home, adapter: tuple[Path, str]) -> None:
    folder, digest = adapter
    version = nights.register(home, folder, digest)
    client = Registry(home).client
    found = client.get_model_version(CASE.name, version.version)
    assert found.tags["digest"] == version.digest == digest
    assert found.tags["snapshot_id"] == version.snapshot_id == digest[:32]
    assert found.tags["verdict"] == "promote"
    assert found.description == "why"
    run = client.get_run(found.run_id)
    assert run.data.params["epochs"] == "3"
    assert run.data.metrics["holdout_accuracy"] == 0.75
    assert [d.dataset.digest for d in run.inputs.dataset_inputs] == [version.snapshot_id]
    curve = client.get_metric_history(found.run_id, "loss")
    assert [(point.step, point.value) for point in curve] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert len(client.get_metric_history(found.run_id, "learning_rate")) == 3


def test_figures_of_nights_in_service_stand_beside_the_holdout_s(
    home: Home, adapter: tuple[Path, str]
) -> None:
    version, registry = nights.register(home, *adapter), Registry(home)
    for night in range(2):
        at = nights.AS_OF + night * nights.DAY
        registry.log_live(CASE.name, version.version, {"live_accepted": 0.5 + night / 4}, at=at)
    run_id = str(registry.client.get_model_version(CASE.name, version.version).run_id)
    shown = registry.client.get_run(run_id).data.metrics
    assert (shown["holdout_accuracy"], shown["live_accepted"]) == (0.75, 0.75)
    history = registry.client.get_metric_history(run_id, "live_accepted")
    assert [point.value for point in history] == [0.5, 0.75]


def test_the_adapter_comes_back_as_it_was_registered(home: Home, adapter: tuple[Path, str]) -> None:
    version = nights.register(home, *adapter)
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (version.adapter_dir / name).read_bytes() == (adapter[0] / name).read_bytes()
    again = Registry(home).by_version(CASE.name, version.version)
    assert (again.version, again.digest) == (version.version, version.digest)


def test_the_same_digest_is_registered_once(home: Home, adapter: tuple[Path, str]) -> None:
    first = nights.register(home, *adapter)
    again = nights.register(home, *adapter)
    assert again.version == first.version
    client = Registry(home).client
    assert len(client.search_model_versions(f"name = '{CASE.name}'")) == 1
    experiment = client.get_experiment_by_name(CASE.name)
    assert experiment is not None
    assert len(client.search_runs([experiment.experiment_id])) == 1


def test_an_alias_moves_and_is_never_on_two_versions(home: Home, adapter: tuple[Path, str]) -> None:
    folder, digest = adapter
    registry = Registry(home)
    first, second = nights.register(home, folder, digest), nights.register(home, folder, "other")
    assert first.version != second.version
    for version in (first, second, first):
        registry.set_alias(version, CHAMPION)
        champion = registry.by_alias(CASE.name, CHAMPION)
        assert champion is not None
        assert champion.version == version.version


def test_after_a_promotion_that_died_the_opponent_is_the_champion_of_that_moment(
    home: Home, adapter: tuple[Path, str]
) -> None:
    folder, _ = adapter
    registry = Registry(home)
    first = nights.register(home, folder, "first")
    registry.set_alias(first, CHAMPION)
    opponent = registry.opponent_of(CASE.name, "second")
    assert opponent is not None
    assert opponent.version == first.version
    second = nights.register(home, folder, "second", champion_before=first.version)
    registry.set_alias(second, CHAMPION)
    opponent = registry.opponent_of(CASE.name, "second")
    assert opponent is not None
    assert opponent.version == first.version, "not itself"
    opponent = registry.opponent_of(CASE.name, "first")
    assert opponent is not None
    assert opponent.version == second.version, "who stands again meets the champion of today"


def test_a_version_that_no_night_registered_is_refused(
    home: Home, adapter: tuple[Path, str]
) -> None:
    version = nights.register(home, *adapter)
    client = MlflowClient(home.mlflow_uri)
    client.delete_model_version_tag(CASE.name, version.version, "digest")
    with pytest.raises(DataError, match="has no digest"):
        Registry(home).by_version(CASE.name, version.version)


def test_labels_in_any_order_survive_the_registry(home: Home, adapter: tuple[Path, str]) -> None:
    assert list(CASE.label_names) != sorted(CASE.label_names), "sorting them would be seen"
    version = nights.register(home, *adapter)
    served = UseCase.model_validate(version.served_config()["use_case"])
    assert served.label_names == CASE.label_names
    check_measured(CASE, home, version)
    (answer,) = version.answer_as_served(["works"])
    assert tuple(answer["probabilities"]) == CASE.label_names


def test_a_version_that_lost_the_order_of_its_labels_is_registered_anew(
    home: Home, adapter: tuple[Path, str]
) -> None:
    version = nights.register(home, *adapter)
    (served,) = (p for p in version.adapter_dir.parents if (p / "MLmodel").is_file())
    config = yaml.safe_load((served / "MLmodel").read_text())
    # as versions were registered while their labels were a mapping
    written = config["flavors"]["python_function"]["config"]["use_case"]
    written["labels"] = dict(written["labels"])
    (served / "MLmodel").write_text(yaml.safe_dump(config))
    with pytest.raises(DigestMismatch, match="labels"):
        check_measured(CASE, home, version)
    again = nights.register(home, *adapter)
    assert again.version != version.version
    check_measured(CASE, home, again)
    known = Registry(home).by_digest(CASE.name, version.digest)
    assert known is not None
    assert known.version == again.version


def test_to_look_into_a_home_without_a_registry_makes_none(tmp_path: Path) -> None:
    home = Home(tmp_path)
    registry = Registry(home)
    assert registry.by_alias("any", CHAMPION) is None
    assert registry.by_digest("any", "d") is None
    assert registry.versions("any") == ()
    with pytest.raises(VersionGone):
        registry.by_version("any", "1")
    assert not (home.root / "mlflow.db").exists()


def test_a_registry_whose_disk_is_not_mounted_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").symlink_to(tmp_path / "not_mounted" / "mlflow.db")
    with pytest.raises(RegistryUnavailable, match="not_mounted"):
        Registry(Home(tmp_path)).by_alias("any", CHAMPION)
