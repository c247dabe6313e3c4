"""`mlflow models serve` answers as `flywheel predict` does, or not at all."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
import pytest

from flywheel.config import Home
from flywheel.errors import DigestMismatch, NotEnoughData
from flywheel.modeling import methods
from flywheel.store import open_store
from flywheel.tracking.registry import CHAMPION, Registry
from flywheel.tracking.versions import Version
from tasks.outputs.predict import predict
from tests import nights
from tests.nights import CASE

pytestmark = pytest.mark.model

AT = datetime(2026, 3, 2, tzinfo=UTC)
TEXTS = ["it works", "the screen broke", "fine", "bad bad bad it broke", "good screen it works"]
ROWS = [(f"customer-{number}", text) for number, text in enumerate(TEXTS)]
START_S = 200
ADAPTER_DIFFERS = r"adapter: measured \w{12}, found \w{12}\."


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = nights.make_home(tmp_path / "home")
    with nights.living_in(home):
        yield home


@pytest.fixture
def champion(home: Home, tmp_path: Path) -> Version:
    """A registered champion whose adapter has random weights."""
    digest = nights.make_adapter(home, tmp_path / "adapter")
    version = nights.register(home, tmp_path / "adapter", digest)
    Registry(home).set_alias(version, CHAMPION)
    return version


def tamper(home: Home) -> None:
    """Change one weight of the registered adapter by a little."""
    (weights,) = home.mlflow_artifacts.rglob("adapter_model.safetensors")
    content = bytearray(weights.read_bytes())
    content[-2] ^= 1
    weights.write_bytes(bytes(content))


def ask(url: str, content: dict[str, Any] | None = None) -> Any:
    data = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as response:
        body = response.read()
    return json.loads(body) if content is not None else body


@pytest.fixture
def served(home: Home, champion: Version, tmp_path: Path) -> Iterator[str]:
    """The URL of a model server, up and running."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path / "served.log"
    with log.open("w") as out:
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "models", "serve"),
                *("-m", f"models:/{CASE.name}@{CHAMPION}", "--env-manager", "local"),
                *("--host", "127.0.0.1", "-p", str(port)),
            ],
            # nothing of the project is beside it: it must find the installed package
            cwd=tmp_path,
            env={
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "FLYWHEEL_HOME": str(home.root),
                "MLFLOW_TRACKING_URI": home.mlflow_uri,
                "OMP_NUM_THREADS": "1",
            },
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until_up(f"http://127.0.0.1:{port}/ping", server, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def wait_until_up(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()[-3_000:]
        try:
            ask(url)
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
        else:
            return
    pytest.fail(f"the server did not come up: {log.read_text()[-3_000:]}")


@pytest.mark.slow
def test_the_served_model_answers_as_batch_prediction_does(home: Home, served: str) -> None:
    ours = predict.fn(CASE, home, ROWS, at=AT)
    theirs = ask(f"{served}/invocations", {"inputs": TEXTS})["predictions"]
    assert [answer["label"] for answer in theirs] == [answer.label for answer in ours]
    for their, our in zip(theirs, ours, strict=True):
        assert their["probabilities"] == pytest.approx(dict(our.probabilities), abs=1e-6)
    spread = [answer["probabilities"]["positive"] for answer in theirs]
    assert max(spread) - min(spread) > 0.01, "the answers must depend on the text"
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(f"{served}/invocations", {"inputs": [1, 2]})
    assert refused.value.code == 400


def test_the_adapter_decides_what_is_answered(home: Home, champion: Version) -> None:

    ours = predict.fn(CASE, home, ROWS, at=AT)
    base = methods.load_on(CASE, home.models / CASE.training.base, None)
    without, _ = base.answer(TEXTS)
    changes = [
        abs(answer.probabilities["positive"] - plain["positive"])
        for answer, plain in zip(ours, without, strict=True)
    ]
    assert max(changes) > 0.05


def test_every_answer_is_kept_once_however_often_it_is_asked(home: Home, champion: Version) -> None:
    first = predict.fn(CASE, home, ROWS, at=AT)
    assert predict.fn(CASE, home, ROWS, at=AT) == first
    assert [answer.text for answer in first] == TEXTS
    assert len({answer.prediction_id for answer in first}) == len(ROWS)
    assert {(a.model_version, a.digest) for a in first} == {(champion.version, champion.digest)}
    nights.drop(
        home,
        "reactions.jsonl",
        [
            {
                "kind": "accept",
                "prediction_id": answer.prediction_id,
                "rater_id": "ann",
                "source": "app",
                "given_at": AT.isoformat(),
            }
            for answer in first
        ],
    )
    from tasks.ingest import ingest_inbox

    ingest_inbox(CASE, home, at=AT)
    with open_store(home.warehouse) as store:
        reactions = store.reactions(CASE.name)
        assert store.parked(CASE.name) == 0
    assert sorted(reaction.text for reaction in reactions) == sorted(TEXTS)


def test_a_tampered_adapter_is_not_served(home: Home, champion: Version) -> None:
    uri = f"models:/{CASE.name}@{CHAMPION}"
    answers = mlflow.pyfunc.load_model(uri).predict(TEXTS[:1])
    assert answers[0]["label"] in CASE.label_names
    tamper(home)
    with pytest.raises(
        DigestMismatch, match=r"adapter: measured \w{12}, found \w{12}\. Nothing is served"
    ):
        mlflow.pyfunc.load_model(uri)


def test_a_tampered_adapter_answers_nothing_in_a_batch(home: Home, champion: Version) -> None:
    tamper(home)
    with pytest.raises(
        DigestMismatch, match=r"adapter: measured \w{12}, found \w{12}\. Nothing was answered"
    ):
        predict.fn(CASE, home, ROWS, at=AT)
    with open_store(home.warehouse) as store:
        assert store.rows("SELECT * FROM predictions", []) == []


def test_without_a_champion_nothing_is_answered(home: Home) -> None:
    with pytest.raises(NotEnoughData, match="no champion yet"):
        predict.fn(CASE, home, ROWS, at=AT)


@pytest.mark.parametrize(
    "edited",
    [
        {"prompt": "{text}\nSentiment:"},
        {"labels": {"bad": "unhappy", "positive": "happy"}},
        {"labels": dict(reversed(CASE.labels.items()))},
    ],
    ids=["prompt", "label", "order of labels"],
)
def test_after_an_edit_the_champion_answers_as_it_was_measured(
    edited: dict[str, Any], home: Home, champion: Version
) -> None:
    expected = predict.fn(CASE, home, ROWS, at=AT)
    assert predict.fn(CASE.model_copy(update=edited), home, ROWS, at=AT) == expected
