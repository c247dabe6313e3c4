"""Whatever is sent to any endpoint, the service answers as its description says, and stays up."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from flywheel.config import Home, UseCase
from tests.engines import OpenModelSource, WordCounter
from tests.services import configured, listening
from tests.serving import test_written_service

pytestmark = pytest.mark.slow

KEY = "a-backend-key-0123456789"
SECRET = "a-secret-of-the-webhook"
REQUESTS = settings(
    max_examples=100,
    deadline=None,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


def fuzzed(url: str, headers: dict[str, str]) -> int:
    """Send valid and broken requests to every operation of a service; how many there are.

    A request is broken in what it sends: its fields, types, lengths and encodings.
    """
    import schemathesis
    from schemathesis import GenerationMode
    from schemathesis.checks import CHECKS, load_all_checks

    load_all_checks()
    wanted = (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    )
    checks = [CHECKS.get_one(name) for name in wanted]
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    count = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        count += 1
        modes = [operation.as_strategy(generation_mode=mode) for mode in GenerationMode]

        @REQUESTS
        @given(st.one_of(modes))
        def holds(case: Any) -> None:
            answer = case.call(base_url=url, headers=headers)
            case.validate_response(answer, checks=checks)

        holds()
    return count


@pytest.fixture(
    params=["without keys", "with keys and no key", "with keys and a key", "written answers"]
)
def asked(
    request: pytest.FixtureRequest, home: Home, use_case: UseCase
) -> Iterator[tuple[str, dict[str, str]]]:
    """The URL of a service, and the headers of each request."""
    how = request.param
    case, shelf = use_case, OpenModelSource({"1": WordCounter("1", configured(use_case))})
    if how == "written answers":
        case, shelf = test_written_service.CASE, test_written_service.shelf()
    keys = KEY if "with keys" in how else ""
    with listening(home, case, shelf, hook=SECRET, keys=keys, texts_per_s=0.0) as url:
        yield url, {"Authorization": f"Bearer {KEY}"} if "a key" in how else {}


def test_no_request_makes_the_service_fail_or_say_what_it_should_not(
    asked: tuple[str, dict[str, str]],
) -> None:
    url, headers = asked
    assert fuzzed(url, headers) >= 6
    with urllib.request.urlopen(f"{url}/healthz") as answer:
        assert json.load(answer) == {"alive": True}
