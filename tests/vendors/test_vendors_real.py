"""A real OpenAI-compatible server: `transformers serve` with the default base."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from flywheel import vendors
from flywheel.config import Home, UseCase
from flywheel.errors import VendorRefused
from tests.endpoints import vendor

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "data/models/smollm2-135m-instruct"
START_S = 240
TEXTS = (
    "The battery died after two days and nobody answers my calls.",
    "It comes with a cable and a manual.",
    "I love this camera, it takes wonderful pictures.",
    "It works.",
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("openai", reason="`transformers serve` needs openai")
    if not (BASE / "model.safetensors").is_file():
        pytest.skip(f"no base at {BASE}: make turn fetches it")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).parent / "transformers"
    log = tmp_path_factory.mktemp("served") / "log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            [program, "serve", BASE, "--host", "127.0.0.1", "--port", str(port)],
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + START_S
        while not _answers(port):
            assert server.poll() is None, log.read_text()[-2_000:]
            assert time.monotonic() < deadline, f"not up after {START_S} s"
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(timeout=60)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_a_real_server_is_asked_read_recorded_and_replayed(
    url: str, use_case: UseCase, home: Home
) -> None:
    one = vendor(url, model=str(BASE), logprobs=True, concurrency=2, timeout_s=120)
    shown = [("It broke.", "negative"), ("It is blue.", "neutral"), ("I love it.", "positive")]

    asked = vendors.ask(use_case, one, TEXTS, home, shown=shown)
    replayed = vendors.ask(use_case, one, TEXTS, home, shown=shown, offline=True)

    for text, answer in zip(TEXTS, asked.answers, strict=True):
        assert answer is not None
        print(f"{answer.label or answer.reason!r}, {answer.seconds:.2f} s, {text}")
        assert answer.label in {*use_case.label_names, None}
        # it says how many tokens there were, and gives no log probabilities
        assert answer.metered
        assert answer.input_tokens > 100
        assert 0 < answer.output_tokens <= one.max_output_tokens
        assert not answer.graded
        assert answer.price > 0
        assert answer.served_model.startswith(str(BASE))
    assert replayed.answers == asked.answers
    assert replayed.asked == 0


def test_a_real_server_refuses_a_model_that_it_does_not_have(
    url: str, use_case: UseCase, home: Home
) -> None:
    with pytest.raises(VendorRefused, match="HTTP 4"):
        vendors.ask(use_case, vendor(url, model="retired"), ["It works."], home)
