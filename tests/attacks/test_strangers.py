"""Nobody reaches the service through a proxy, a browser or an open body who has no key."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from flywheel.config import Home, UseCase
from flywheel.serving.http.app import KEYED, build_app
from flywheel.serving.http.auth import Keys
from flywheel.serving.http.request_origin import Refused, Strangers
from flywheel.serving.service import Service
from tests.engines import OpenModelSource
from tests.services import configured, rows, serving

KEY, CUSTOMERS = "a-backend-key-0123456789", "ann-key-0123456789ab"
BOTH = f"{KEY},ann:{CUSTOMERS}"


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


OTHER_PROXIES = """
x-forwarded forwarded x-forwarded-server x-original-forwarded-for x-client-ip client-ip
x-azure-clientip x-azure-fdid fly-client-ip fly-region fastly-client-ip x-arr-log-id cf-ray
cf-connecting-ip cf-connecting-ipv6 true-client-ip x-cluster-client-ip cdn-loop
x-envoy-external-address x-original-host x-proxyuser-ip ali-cdn-real-ip
"""
HONEST = """
accept traceparent tracestate x-request-id x-amzn-trace-id x-b3-traceid user-agent
x-cloud-trace-context sec-ch-ua-platform x-api-version priority dnt
"""


# ---- Without keys


@pytest.mark.parametrize(
    "header",
    ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via"],
)
def test_what_a_proxy_hands_on_is_refused(home: Home, use_case: UseCase, header: str) -> None:
    told = {"kind": "label", "text": "a", "value": "negative", "rater_id": "eve"}
    with serving(home, use_case) as client:
        for method, path, body in (
            ("GET", "/readyz", None),
            ("GET", "/metrics", None),
            ("POST", "/predict", {"text": "a"}),
            ("POST", "/feedback", told),
        ):
            found = client.request(method, path, json=body, headers={header: "203.0.113.9"})
            assert found.status_code == 403
            assert "FLYWHEEL_SERVE_KEYS" in found.json()["detail"]
    assert rows(home, use_case, "predictions") == rows(home, use_case, "feedback") == []


def test_the_headers_of_all_kinds_of_proxies_are_known() -> None:
    strangers = Strangers(Keys.parse(""), frozenset({"/predict"}), 1_000, {})
    here = {"host": "localhost:8077"}
    assert strangers.admit("POST", "/predict", here | dict.fromkeys(HONEST.split(), "1")) == 1_000
    for header in OTHER_PROXIES.split():
        with pytest.raises(Refused, match=header):
            strangers.admit("POST", "/predict", here | {header: "203.0.113.9"})


@pytest.mark.parametrize(
    "sent",
    [
        {"origin": "https://evil.example"},
        {"origin": "http://127.0.0.1:3000"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1.evil.example"},
        {"origin": "http://["},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_a_page_of_another_origin_writes_nothing(
    home: Home, use_case: UseCase, sent: dict[str, str]
) -> None:
    told = {"kind": "label", "text": "a", "value": "negative", "rater_id": "eve"}
    with serving(home, use_case) as client:
        for path, body in (("/predict", {"text": "a"}), ("/feedback", told)):
            assert client.post(path, json=body, headers=sent).status_code == 403
    assert rows(home, use_case, "predictions") == rows(home, use_case, "feedback") == []


def test_the_service_s_own_page_and_programs_here_are_answered(
    home: Home, use_case: UseCase
) -> None:
    own = {"origin": "http://LOCALHOST:8077", "host": "localhost:8077"}
    with serving(home, use_case) as client:
        for sent in (own, {**own, "sec-fetch-site": "same-origin"}, {}):
            assert client.post("/predict", json={"text": "a"}, headers=sent).status_code == 200
        assert client.get("/readyz").json()["model_version"] == "1"


# ---- With keys


def test_behind_a_proxy_a_key_is_answered(home: Home, use_case: UseCase) -> None:
    sent = {"x-forwarded-for": "203.0.113.9", "host": "model.example", **bearer(KEY)}
    with serving(home, use_case, keys=BOTH) as client:
        assert client.post("/predict", json={"text": "a"}, headers=sent).status_code == 200


@pytest.mark.parametrize("path", sorted(KEYED | {"/hooks/mlflow", "/readyz", "/nosuch"}))
def test_no_body_is_read_of_who_has_no_key(home: Home, use_case: UseCase, path: str) -> None:
    async def main() -> tuple[int, int]:
        service = Service(configured(use_case), home, shelf=OpenModelSource({}))
        app = build_app(service, Keys.parse(BOTH))
        read, sent = 0, []

        async def receive() -> Any:
            nonlocal read
            read += 1
            return {"type": "http.request", "body": b" " * 1_000, "more_body": read < 5_000}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": "POST", "path": path, "raw_path": path.encode(),
            "headers": [(b"host", b"model.example"), (b"authorization", b"Bearer wrong")],
            "query_string": b"", "http_version": "1.1", "scheme": "http", "root_path": "",
            "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1),
        }  # fmt: skip
        await app(scope, receive, send)
        return int(sent[0]["status"]), read

    status, read = asyncio.run(main())
    assert status == (401 if path in KEYED else {"/readyz": 405}.get(path, 413 if read else 404))
    # a webhook's key is the signature of its body
    assert read <= (70 if path == "/hooks/mlflow" else 0)


def test_every_path_that_answers_or_writes_needs_a_key(home: Home, use_case: UseCase) -> None:
    with serving(home, use_case, keys=BOTH) as client:
        paths = client.get("/openapi.json").json()["paths"]
        found = {
            path: client.request(method, path, json={}).status_code
            for path, methods in paths.items()
            for method in methods
        }
    assert {path: found[path] for path in found.keys() & KEYED} == dict.fromkeys(
        found.keys() & KEYED, 401
    )
    assert found.keys() - KEYED == {"/healthz", "/readyz"}


def test_strangers_hear_only_whether_it_is_ready(home: Home, use_case: UseCase) -> None:
    with serving(home, use_case, keys=BOTH) as client:
        for sent in ({}, bearer("wrong-key-0123456789")):
            assert client.get("/readyz", headers=sent).json() == {"ready": True}
        customer = client.get("/readyz", headers=bearer(CUSTOMERS)).json()
        backend = client.get("/readyz", headers=bearer(KEY)).json()
        schema = client.get("/openapi.json").json()
    assert customer.keys() == {"ready", "model_version", "digest", "unproven", "labels"}
    assert backend.items() >= customer.items()
    assert backend["refused_versions"] == []
    assert use_case.name not in json.dumps(schema)
