"""Homes of earlier versions, at another path than they were made at, go on with today's code."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from flows.cli.main import cli
from flows.retrain import flywheel
from flows.servers import check_champion
from flywheel.config import Home, load_use_case
from flywheel.store import open_store
from flywheel.store.nights import night_runs
from flywheel.tracking.registry import CHAMPION, Registry
from tests import nights

pytestmark = [pytest.mark.prefect, pytest.mark.model, pytest.mark.slow]

HOMES = Path(__file__).parents[1] / "homes"
ARCHIVES = sorted(HOMES.glob("*.tar.xz"))
NEXT = datetime.fromisoformat("2026-02-04T02:30:00+00:00")


def unpack(archive: Path, folder: Path) -> tuple[Home, Path]:
    """The home, and the file of its use case."""
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    (use_case,) = folder.glob("*.yaml")
    return Home(folder / "home"), use_case


@dataclass
class Upgraded:
    """An earlier home, and what today's code said in it."""

    home: Home
    use_case: str
    before: dict[str, Any] = field(default_factory=dict)
    night: dict[str, Any] = field(default_factory=dict)

    def ask(self, *words: str) -> Result:
        with nights.living_in(self.home):
            return CliRunner().invoke(cli, [*words, "-u", self.use_case, "--json"])


@pytest.fixture(scope="module", params=ARCHIVES, ids=lambda path: path.name)
def upgraded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Upgraded]:
    home, use_case = unpack(request.param, tmp_path_factory.mktemp("an earlier höme"))
    nights.prefect_server()
    with nights.living_in(home), nights.training_here():
        made = Upgraded(home, str(use_case))
        made.before = json.loads(made.ask("status").stdout)
        made.night = flywheel(load_use_case(str(use_case)), NEXT)
        yield made


def test_every_earlier_home_is_tried() -> None:
    assert [path.name for path in ARCHIVES] == ["0.1.0.tar.xz"]


def test_its_champion_nights_and_feedback_are_there(upgraded: Upgraded) -> None:
    before = upgraded.before
    assert before["champion"]["version"] == "1"
    assert [night["outcome"] for night in before["nights"]] == ["promoted", "undecided"]
    assert before["feedback"]["ingested"] == 360


def test_its_next_night_learns_from_what_waited(upgraded: Upgraded) -> None:
    assert upgraded.night["outcome"] != "failed"
    assert upgraded.night["feedback_read"] == 60
    with open_store(upgraded.home.warehouse) as store:
        assert [n.outcome for n in night_runs.nights(store, "deliveries")][:2] == [
            "promoted",
            "undecided",
        ]


def test_its_champion_answers(upgraded: Upgraded, tmp_path: Path) -> None:
    asked = tmp_path / "asked.jsonl"
    asked.write_text('{"text": "parcel 77 to Brunn, again broken"}\n')

    done = upgraded.ask("predict", str(asked))

    assert done.exit_code == 0, done.output
    (answer,) = json.loads(done.stdout)
    assert set(answer["probabilities"]) == {"damaged", "late", "praise"}


def test_mlflow_serves_it_with_the_code_of_this_release(upgraded: Upgraded) -> None:
    """What was registered beside it imports modules by the names that they had then."""
    import mlflow

    from flywheel.tracking import pyfunc_model

    with nights.living_in(upgraded.home):
        copy = check_champion.main("deliveries")
    folder = Registry(upgraded.home).by_alias("deliveries", CHAMPION).folder
    ours = Path(pyfunc_model.__file__).read_bytes()
    for name in check_champion.CODE_FILES:
        if (folder / name).exists():
            assert (copy / name).read_bytes() == ours
    loaded = mlflow.pyfunc.load_model(str(copy))
    (answer,) = loaded.predict(["parcel 77 to Brunn, again broken"])
    assert set(answer["probabilities"]) == {"damaged", "late", "praise"}


def test_its_versions_lead_to_their_feedback(upgraded: Upgraded) -> None:
    done = upgraded.ask("lineage", "1")

    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["version"] == "1"


def test_its_files_are_found_where_the_home_is_now(upgraded: Upgraded) -> None:
    champion = Registry(upgraded.home).by_alias("deliveries", CHAMPION)
    assert champion is not None
    assert champion.adapter_dir.is_relative_to(upgraded.home.mlflow_artifacts)
