"""A whole file is answered in order, once, and a run that is killed is gone on with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import tasks.outputs.predict
from flywheel.config import Home
from flywheel.errors import DataError
from flywheel.store import open_store
from tasks.outputs.predict import predict
from tasks.outputs.predict_file import predict_file
from tests import champions, nights
from tests.nights import CASE

pytestmark = pytest.mark.model

AT = datetime(2026, 1, 9, 9, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[2]
TEXTS = [f"good {'screen ' * (n % 4)}number {n}" for n in range(10)]
GROUPS = [f"customer-{n % 3}" for n in range(10)]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = champions.copy(tmp_path / "home")
    with nights.living_in(made):
        yield made


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    path = tmp_path / "asked.parquet"
    pq.write_table(pa.table({"text": TEXTS, "group_id": GROUPS}), path)
    return path


def run(home: Home, source: Path, to: Path, *, at: datetime = AT, part: int = 4) -> dict[str, Any]:
    return predict_file.fn(CASE, home, source, to, at=at, rows_per_part=part)


def rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    found = pq.read_table(path).to_pylist()
    return [{**row, "probabilities": dict(row["probabilities"])} for row in found]


def stored(home: Home) -> int:
    with open_store(home.warehouse, read_only=True) as store:
        ((count,),) = store.rows(
            "SELECT count(*) FROM predictions WHERE predicted_at >= $at", {"at": AT}
        )
    return int(count)


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_answers_come_in_order_as_those_of_one_call(
    home: Home, asked: Path, tmp_path: Path, suffix: str
) -> None:
    to = tmp_path / f"answers{suffix}"
    done = run(home, asked, to)
    assert done == {"rows": 10, "asked": 10, "version": "1", "to": str(to)}
    expected = predict.fn(CASE, home, list(zip(GROUPS, TEXTS, strict=True)), at=AT)
    found = rows(to)
    assert [row["prediction_id"] for row in found] == [one.prediction_id for one in expected]
    assert [row["label"] for row in found] == [one.label for one in expected]
    for row, one in zip(found, expected, strict=True):
        assert row["probabilities"] == pytest.approx(dict(one.probabilities), abs=0.02)
    assert stored(home) == 10, "the same call stores nothing twice"
    assert not list(tmp_path.glob(".*.parts"))


def test_a_run_that_was_killed_is_gone_on_with(
    home: Home, asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tasks.outputs.predict.Champion.answer
    calls: list[int] = []

    def deadly(champion: Any, some: Any, **how: Any) -> Any:
        calls.append(len(some))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(champion, some, **how)

    to = tmp_path / "answers.parquet"
    with monkeypatch.context() as patched:
        patched.setattr(tasks.outputs.predict.Champion, "answer", deadly)
        with pytest.raises(KeyboardInterrupt):
            run(home, asked, to)
    assert not to.exists()
    assert stored(home) == 4
    later = datetime(2026, 1, 10, tzinfo=UTC)
    assert run(home, asked, to, at=later)["asked"] == 6
    assert len(rows(to)) == len({row["prediction_id"] for row in rows(to)}) == stored(home) == 10


def test_another_file_or_champion_begins_anew(
    home: Home, asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deadly(*_: Any) -> None:
        raise KeyboardInterrupt

    to = tmp_path / "answers.parquet"
    with monkeypatch.context() as patched:
        patched.setattr("tasks.outputs.predict_file.join_parts", deadly)
        with pytest.raises(KeyboardInterrupt):
            run(home, asked, to)
    pq.write_table(pa.table({"text": TEXTS[:5]}), asked)
    assert run(home, asked, to)["asked"] == 5
    assert len(rows(to)) == 5


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"words": ["a"]}, 'needs a column "text"; it has words'),
        ({"text": ["a", None]}, 'row 2 needs "text"'),
        ({"text": [1, 2]}, 'row 1 needs "text"'),
        ({"text": pa.array([], pa.string())}, "holds no texts"),
    ],
)
def test_what_cannot_be_asked_is_named_and_nothing_is_answered(
    home: Home, tmp_path: Path, columns: dict[str, Any], said: str
) -> None:
    source, to = tmp_path / "asked.parquet", tmp_path / "answers.parquet"
    pq.write_table(pa.table(columns), source)
    with pytest.raises(DataError, match=said):
        run(home, source, to)
    assert stored(home) == 0
    source.write_bytes(b"not a table")
    with pytest.raises(DataError, match="no Parquet file"):
        run(home, source, to)


def test_a_file_that_is_there_is_not_written_over(home: Home, asked: Path, tmp_path: Path) -> None:
    to = tmp_path / "answers.parquet"
    to.write_text("mine")
    with pytest.raises(DataError, match="is there already"):
        run(home, asked, to)
    assert to.read_text() == "mine"
    with pytest.raises(DataError, match=r"must end in .parquet or .jsonl"):
        run(home, asked, tmp_path / "answers.csv")


def test_the_deployment_asks_for_what_the_flow_takes() -> None:
    from flows.predict import predict as flow

    deployed = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    (found,) = [one for one in deployed if one["entrypoint"] == "flows.predict.predict"]
    assert set(flow.parameters.properties) == {"source", "to", "use_case"}
    assert found["parameters"] == {"use_case": "product-reviews"}
    assert flow.name == "predict"
