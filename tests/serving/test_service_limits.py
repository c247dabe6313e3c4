"""The service under stress: too much, anything at all, a full disk."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from flywheel.config import Home, UseCase
from flywheel.serving.http import middleware
from flywheel.serving.http.app import build_app
from flywheel.serving.http.auth import Caller, Keys
from flywheel.serving.http.schemas import Asked
from flywheel.serving.models import batching
from flywheel.serving.models.batching import Overloaded
from flywheel.serving.service import Service
from tests.engines import OpenModelSource, WordCounter
from tests.examples import examples
from tests.services import Disk, configured, rows, serving, until

# ---- Too much


def test_a_key_that_asks_too_much_is_told_when(home: Home, use_case: UseCase) -> None:
    with serving(home, use_case, texts_per_s=0.1) as client:
        first, second = (client.post("/predict", json={"text": "a"}) for _ in range(2))
    assert (first.status_code, second.status_code) == (200, 429)
    assert int(second.headers["retry-after"]) in range(1, 11)


def test_a_full_queue_refuses_and_what_waits_is_answered(home: Home, use_case: UseCase) -> None:
    async def main() -> list[Any]:
        version = WordCounter("1", use_case, pass_s=0.02)
        case = configured(use_case, max_waiting=8, max_texts=4, max_batch_tokens=8)
        service = Service(case, home, shelf=OpenModelSource({"1": version}))
        await service.start()
        while not service.readiness().ready:
            await asyncio.sleep(0.01)
        try:
            asked = [[Asked(text=f"text {n}")] for n in range(40)]
            return await asyncio.gather(
                *(service.predict(Caller("ann"), one) for one in asked), return_exceptions=True
            )
        finally:
            await service.stop()

    results = asyncio.run(main())
    refused = [one for one in results if isinstance(one, Overloaded)]
    assert len(refused) in range(20, 33), "8 wait, and some are on their way"
    assert all(one.facts["retry_after_s"] >= 1 for one in refused)
    assert len(rows(home, use_case, "predictions")) == 40 - len(refused)


def test_batches_are_bounded_by_tokens_and_made_on_one_thread(
    home: Home, use_case: UseCase
) -> None:
    version = WordCounter("1", use_case)
    shelf = OpenModelSource({"1": version})
    with serving(home, use_case, shelf=shelf, max_batch_tokens=12) as client:
        version.batches.clear()
        texts = ["w " * words + str(n) for n, words in enumerate([1, 7, 2, 2, 1, 20])]
        client.post("/predict", json={"inputs": [{"text": text} for text in texts]})
    passes = [[len(text.split()) for text in batch] for batch in version.batches]
    assert passes == [[2, 2, 3, 3], [8], [21]]
    assert len(version.threads) == 1


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([10, 12, 11], [[10, 11, 12]]),
        ([200, 10, 11, 200, 10], [[10, 10, 11], [200, 200]]),
        ([150, 150, 150], [[150], [150, 150]]),
        ([900, 1], [[1], [900]]),
        # a blank label description has no words
        ([0, 0], [[0, 0]]),
    ],
)
def test_a_pass_of_its_own_must_be_worth_it(lengths: list[int], expected: list[list[int]]) -> None:
    async def main() -> list[list[int]]:
        loop = asyncio.get_running_loop()
        items = [batching._Item("", None, loop.create_future(), n) for n in lengths]
        passes = batching._passes(items, 400)
        return sorted([item.tokens for item in batch] for batch in passes)

    assert asyncio.run(main()) == sorted(expected)


# ---- Other sites in the browser of whoever may ask


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8077", "127.0.0.1.evil.example", ""]
)
def test_a_name_that_only_points_here_is_refused(home: Home, use_case: UseCase, host: str) -> None:
    with serving(home, use_case) as client:
        refused = client.post("/predict", json={"text": "a"}, headers={"host": host})
        assert refused.status_code == 421
    assert rows(home, use_case, "predictions") == []


@pytest.mark.parametrize("host", ["localhost:8077", "127.0.0.1", "[::1]:8077", "LOCALHOST"])
def test_this_machine_s_own_names_are_answered(home: Home, use_case: UseCase, host: str) -> None:
    with serving(home, use_case) as client:
        answered = client.post("/predict", json={"text": "a"}, headers={"host": host})
    assert answered.status_code == 200


def test_with_keys_any_name_is_answered(home: Home, use_case: UseCase) -> None:
    key = "a-key-of-enough-characters"
    headers = {"host": "model.example", "authorization": f"Bearer {key}"}
    with serving(home, use_case, keys=key) as client:
        assert client.post("/predict", json={"text": "a"}, headers=headers).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
def test_what_a_page_may_send_unasked_is_no_feedback(
    home: Home, use_case: UseCase, kind: str | None
) -> None:
    # a browser sends these to another site without asking it first
    told = json.dumps({"kind": "label", "text": "a", "value": "negative", "rater_id": "ann"})
    headers = {"content-type": kind} if kind else {}
    with serving(home, use_case) as client:
        found = client.post("/feedback", content=told.encode(), headers=headers)
    assert found.status_code == 422
    assert rows(home, use_case, "feedback") == []


# ---- More than a client may send


@pytest.mark.parametrize("declared", [True, False])
def test_a_huge_body_is_refused(home: Home, use_case: UseCase, declared: bool) -> None:
    body = json.dumps({"text": "a" * 2_000}).encode()
    with serving(home, use_case, max_body_bytes=1_000) as client:
        content: Any = body if declared else iter([body[:900], body[900:]])
        headers = {"content-type": "application/json"}
        assert client.post("/predict", content=content, headers=headers).status_code == 413
        assert client.post("/predict", json={"text": "a"}).status_code == 200


def test_a_slow_body_is_refused(
    home: Home, use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "BODY_S", 0.05)

    async def main() -> int:
        service = Service(configured(use_case), home, shelf=OpenModelSource({}))
        app = build_app(service, Keys.parse(""))
        sent: list[Any] = []

        async def receive() -> Any:
            await asyncio.sleep(0.02)
            return {"type": "http.request", "body": b" ", "more_body": True}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": "POST", "path": "/predict",
            "headers": [(b"host", b"localhost")],
            "query_string": b"", "http_version": "1.1", "scheme": "http", "root_path": "",
            "raw_path": b"/predict", "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1),
        }  # fmt: skip
        await app(scope, receive, send)
        return int(sent[0]["status"])

    assert asyncio.run(main()) == 408


# ---- Anything at all

any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
names = ("text", "inputs", "group_id", "durable", "kind", "value", "prediction_id", "rater_id")
near_misses = st.dictionaries(st.sampled_from(names), any_json | st.text(), max_size=6)
bodies = (
    st.binary(max_size=200)
    | (any_json | near_misses).map(lambda one: json.dumps(one).encode())
    | near_misses.map(lambda one: json.dumps(one, ensure_ascii=False).encode("utf-8", "replace"))
    | near_misses.map(lambda one: json.dumps(one).encode("utf-16"))
    | st.sampled_from(
        [b"[" * 20_000, b'{"text":' * 5_000, b'{"text": "\\ud800"}', b'{"text": NaN}']
    )
)
types = st.sampled_from(["application/json", "text/plain", "application/x-www-form-urlencoded", ""])


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    from flywheel.config import load_use_case

    folder = Path(__file__).resolve().parents[2] / "usecases"
    use_case = load_use_case("product-reviews", folder=folder)
    with serving(Home(tmp_path_factory.mktemp("fuzzed")), use_case) as client:
        yield client


@examples(60, suppress=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(["/predict", "/feedback"]), body=bodies, kind=types)
def test_whatever_is_sent_it_answers_and_lives(
    fuzzed: TestClient, path: str, body: bytes, kind: str
) -> None:
    answer = fuzzed.post(path, content=body, headers={"content-type": kind})
    assert answer.status_code in range(200, 500), answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert fuzzed.post("/predict", json={"text": "alive"}).status_code == 200


@examples(25, suppress=[HealthCheck.function_scoped_fixture])
@given(
    path=st.text(max_size=12),
    method=st.sampled_from(["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]),
    key=st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), max_size=12),
)
def test_wherever_it_is_sent_it_answers_and_lives(
    fuzzed: TestClient, path: str, method: str, key: str
) -> None:
    answer = fuzzed.request(method, f"/{quote(path)}", headers={"Authorization": key})
    assert answer.status_code in range(200, 500)
    assert fuzzed.get("/healthz").json() == {"alive": True}


# ---- Disk full


@pytest.mark.parametrize(
    ("goes_on", "status", "recorded"), [("predict", 200, False), ("feedback", 503, None)]
)
@pytest.mark.parametrize("durable", [True, False])
def test_a_full_disk_is_never_silent(
    home: Home, use_case: UseCase, goes_on: str, status: int, recorded: bool | None, durable: bool
) -> None:
    disk = Disk()
    feedback = {"kind": "accept", "prediction_id": "p", "rater_id": "ann", "feedback_id": "f1"}
    with serving(home, use_case, write=disk.write, disk_full=goes_on) as client:
        disk.full = True
        # the first that nobody waits for can only be counted
        client.post("/predict", json={"text": "first", "durable": durable})
        until(lambda: client.get("/readyz").json()["disk_ok"] is False)
        answer = client.post("/predict", json={"text": "a", "durable": durable})
        assert answer.status_code == status
        assert answer.json().get("recorded") is recorded
        lost = client.post("/feedback", json=feedback)
        assert (lost.status_code, lost.headers["retry-after"]) == (503, "1")
        unwritten = 'flywheel_unwritten_rows_total{kind="%s"}'
        counts = client.get("/metrics").text
        assert f"{unwritten % 'predictions'} 2.0" in counts
        assert f"{unwritten % 'feedback'} 1.0" in counts

        disk.full = False
        again = client.post("/feedback", json=feedback)
        assert (again.status_code, again.json()["status"]) == (202, "accepted")
        assert client.post("/predict", json={"text": "b"}).json()["recorded"] is True
        assert client.get("/readyz").json()["disk_ok"] is True
    assert [row["text"] for row in rows(home, use_case, "predictions")] == ["b"]
    assert [row["feedback_id"] for row in rows(home, use_case, "feedback")] == ["f1"]


def test_the_last_of_the_disk_is_for_feedback(home: Home, use_case: UseCase) -> None:
    with serving(home, use_case, reserve_mb=1e12) as client:
        assert client.post("/predict", json={"text": "a"}).json()["recorded"] is False
        said = {"kind": "label", "text": "a", "value": "neutral", "rater_id": "ann"}
        assert client.post("/feedback", json=said).status_code == 202
    assert len(rows(home, use_case, "feedback")) == 1
