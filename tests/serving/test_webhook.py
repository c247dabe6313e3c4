"""MLflow wakes the service; nobody else does, and nobody is believed."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.webhooks.delivery import _generate_hmac_signature

from flywheel.config import Home, UseCase
from flywheel.errors import ConfigError
from flywheel.serving.http import webhook
from flywheel.serving.http.server import run
from flywheel.serving.http.webhook import PATH, WINDOW_S, Hook, verify
from flywheel.tracking.registry import CHAMPION, Registry
from tests.engines import OpenModelSource, WordCounter
from tests.services import listening, mlflow_serving, serving, until

SECRET = "a-secret-of-the-webhook"
NEVER_S = 3_600
BODY = json.dumps(
    {
        "entity": "model_version_alias",
        "action": "created",
        "timestamp": "2026-01-03T00:00:00+00:00",
        "data": {"name": "product-reviews", "alias": "champion", "version": "7"},
    }
)


def headers(
    body: str = BODY, *, secret: str = SECRET, delivery: str = "d-1", at: float | None = None
) -> dict[str, str]:
    """As MLflow signs."""
    timestamp = str(int(time.time() if at is None else at))
    return {
        "x-mlflow-signature": _generate_hmac_signature(secret, delivery, timestamp, body),
        "x-mlflow-timestamp": timestamp,
        "x-mlflow-delivery-id": delivery,
    }


# ---- Whose word it is


def test_what_mlflow_signs_is_accepted() -> None:
    assert verify(headers(at=1_000), BODY.encode(), SECRET, now=1_000 + WINDOW_S) == "d-1"
    said = json.dumps({"data": "grüße"}, ensure_ascii=False)
    assert verify(headers(said, at=1_000), said.encode(), SECRET, now=1_000) == "d-1"


FORGED: dict[str, Mapping[str, str]] = {
    "nothing": {},
    "another secret": headers(secret="b-secret-of-the-webhook", at=1_000),
    "another body": headers("{}", at=1_000),
    "another delivery": {**headers(at=1_000), "x-mlflow-delivery-id": "d-2"},
    "another time": {**headers(at=1_000), "x-mlflow-timestamp": "1001"},
    "another scheme": {
        **headers(at=1_000),
        "x-mlflow-signature": headers(at=1_000)["x-mlflow-signature"].replace("v1,", "v2,"),
    },
    "no signature": {n: v for n, v in headers(at=1_000).items() if "signature" not in n},
    "no ASCII": {**headers(at=1_000), "x-mlflow-signature": "v1,é\udcff"},
    "stale": headers(at=1_000 - WINDOW_S - 1),
    "ahead": headers(at=1_000 + WINDOW_S + 1),
    "signed, without an id": headers(delivery="", at=1_000),
    "signed, with an endless id": headers(delivery="d" * 1_000, at=1_000),
}


@pytest.mark.parametrize("what", FORGED)
def test_what_is_forged_or_stale_is_not(what: str) -> None:
    with pytest.raises(webhook.Unsigned):
        verify(FORGED[what], BODY.encode(), SECRET, now=1_000)


@pytest.mark.parametrize("timestamp", ["", "soon", "-1000", "1e3", "\u0661\u0660", "1" * 4_000])
def test_a_signed_time_that_is_no_time_is_refused(timestamp: str) -> None:
    signed = {
        "x-mlflow-signature": _generate_hmac_signature(SECRET, "d-1", timestamp, BODY),
        "x-mlflow-timestamp": timestamp,
        "x-mlflow-delivery-id": "d-1",
    }
    with pytest.raises(webhook.Unsigned):
        verify(signed, BODY.encode(), SECRET, now=1_000)


def test_a_delivery_is_heard_once_as_long_as_its_time_is_good() -> None:
    hook = Hook(SECRET)
    ahead = headers(at=1_000 + WINDOW_S)
    hook.receive(ahead, BODY.encode(), now=1_000)
    for now in (1_000, 1_000 + 2 * WINDOW_S):
        with pytest.raises(webhook.Replayed):
            hook.receive(ahead, BODY.encode(), now=now)


def test_deliveries_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "REMEMBERED", 3)
    hook = Hook(SECRET)
    for n in range(3):
        hook.receive(headers(delivery=f"d-{n}", at=1_000), BODY.encode(), now=1_000)
    with pytest.raises(webhook.TooMany):
        hook.receive(headers(delivery="d-3", at=1_000), BODY.encode(), now=1_000)
    later = 1_001 + 2 * WINDOW_S
    hook.receive(headers(delivery="d-4", at=later), BODY.encode(), now=later)
    assert list(hook._heard) == ["d-4"]


def test_a_short_secret_is_refused(
    home: Home, use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(webhook.VARIABLE, "short")
    with pytest.raises(ConfigError, match=webhook.VARIABLE):
        run(use_case, home, host="127.0.0.1", port=0, listening=lambda url: None)
    assert SECRET not in repr(Hook(SECRET))


# ---- What it does


class CountingModelSource(OpenModelSource):
    """Counts how often it was asked."""

    looks = 0

    def aliases(self) -> Mapping[str, str]:
        self.looks += 1
        return super().aliases()


def test_a_delivery_makes_the_service_read_the_registry_and_believe_that(
    home: Home, use_case: UseCase
) -> None:
    shelf = CountingModelSource({number: WordCounter(number, use_case) for number in "12"})
    with serving(home, use_case, hook=SECRET, shelf=shelf, poll_s=NEVER_S) as client:
        shelf.named[CHAMPION] = "2"
        heard = client.post(PATH, content=BODY, headers=headers())
        assert (heard.status_code, heard.content) == (204, b"")
        # the delivery names version 7
        until(lambda: client.get("/readyz").json()["model_version"] == "2")
        assert shelf.loaded == ["1", "2"]


def test_adapters_of_segments_are_looked_at_too(home: Home, use_case: UseCase) -> None:
    shelf = OpenModelSource({number: WordCounter(number, use_case) for number in "12"})
    adapters: dict[str, Any] = {"adapters": {"field": "segment"}}
    with serving(home, use_case, hook=SECRET, shelf=shelf, poll_s=NEVER_S, **adapters) as client:

        def who() -> str:
            asked = {"text": "it works", "segment": "shop"}
            return str(client.post("/predict", json=asked).json()["model_version"])

        assert who() == "1"
        shelf.named["champion-shop"] = "2"
        client.post(PATH, content=BODY, headers=headers())
        until(lambda: who() == "2")


def test_what_is_refused_wakes_nothing(home: Home, use_case: UseCase) -> None:
    shelf = CountingModelSource({"1": WordCounter("1", use_case)})
    with serving(home, use_case, hook=SECRET, shelf=shelf, poll_s=NEVER_S) as client:
        assert client.post(PATH, content=BODY, headers=headers()).status_code == 204
        until(lambda: shelf.looks == 2)
        large = "x" * (webhook.MAX_BODY_BYTES + 1)
        refused = {
            "nothing": ({}, BODY),
            "forged": (headers(delivery="d-2", secret="b" * 20), BODY),
            "stale": (headers(delivery="d-3", at=time.time() - 2 * WINDOW_S), BODY),
            "replayed": (headers(), BODY),
            "oversized": (headers(large, delivery="d-4"), large),
        }
        statuses = {
            name: client.post(PATH, content=content, headers=given).status_code
            for name, (given, content) in refused.items()
        }
        assert statuses == {
            "nothing": 401, "forged": 401, "stale": 401, "replayed": 409, "oversized": 413,
        }  # fmt: skip
        assert client.get(PATH).status_code == 405
        assert not client.app.state.service.versions.woken.is_set()  # type: ignore[attr-defined]
        assert shelf.looks == 2
        page = client.get("/metrics").text
    assert 'flywheel_refused_total{why="Unsigned"} 3.0' in page
    assert f'path="{PATH}"' in page


def test_without_a_secret_there_is_no_such_route(home: Home, use_case: UseCase) -> None:
    with serving(home, use_case) as client:
        assert client.post(PATH, content=BODY, headers=headers()).status_code == 404
        assert PATH not in client.get("/openapi.json").json()["paths"]


# ---- A real server


class ServersModelSource(OpenModelSource):
    """Versions without a model, whose aliases a registry has."""

    home: Home
    name: str

    def aliases(self) -> Mapping[str, str]:
        listed = Registry(self.home).versions(self.name)
        return {alias: one.version for one in listed for alias in one.aliases}


@pytest.fixture
def mlflow_server(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MlflowClient]:
    """A client of an MLflow server that may call this machine; it is the home's registry."""
    with mlflow_serving(home, tmp_path / "log") as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        yield MlflowClient(url)


@pytest.mark.slow
def test_an_alias_moved_at_a_real_server_moves_the_service(
    home: Home, use_case: UseCase, mlflow_server: MlflowClient
) -> None:
    mlflow_server.create_registered_model(use_case.name)
    for _ in "12":
        run = mlflow_server.create_run("0").info
        mlflow_server.create_model_version(use_case.name, run.artifact_uri, run.run_id)
    shelf = ServersModelSource({number: WordCounter(number, use_case) for number in "12"})
    shelf.home, shelf.name = home, use_case.name
    with listening(home, use_case, shelf, hook=SECRET, poll_s=NEVER_S) as url:

        def readiness() -> dict[str, Any]:
            try:
                with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
                    found: dict[str, Any] = json.load(answer)
            except urllib.error.HTTPError as not_ready:
                found = json.load(not_ready)
            return found

        # first of all: the server remembers for a minute which webhooks there are
        events = ["model_version_alias.created", "model_version_alias.deleted"]
        mlflow_server.create_webhook("flywheel", url + PATH, events, secret=SECRET)
        until(lambda: not readiness()["registry_ok"])
        for number in ("1", "2", "1"):
            mlflow_server.set_registered_model_alias(use_case.name, CHAMPION, number)
            until(lambda: readiness()["model_version"] == number)  # noqa: B023
