"""A real server, killed: what it acknowledged is in the warehouse, once."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from flywheel.config import Home
from flywheel.store import open_store
from tasks.ingest import ingest_inbox
from tests import champions
from tests.nights import CASE, ROOT, SECRET
from tests.services import configured

pytestmark = [pytest.mark.model, pytest.mark.slow]

AT = datetime(2026, 1, 3, tzinfo=UTC)
START_S, CLIENTS, ENOUGH = 120, 6, 60
# segments are sealed all the time, so that some are when the kill comes
SEGMENT_S = 0.05


@dataclass
class Server:
    """A running ``flywheel serve``."""

    home: Home
    process: subprocess.Popen[str]
    port: int
    log: Path

    def ask(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        """Status and content of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            method = "GET" if body is None else "POST"
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"content-type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    home = champions.copy(tmp_path / "home")
    case = configured(CASE, segment_s=SEGMENT_S).model_dump(mode="json")
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(case, sort_keys=False))
    log = tmp_path / "log"
    with log.open("w") as err:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "flows", "serve", "--json", "--port", "0"),
                *("-u", str(tmp_path / "tiny.yaml")),
            ],
            cwd=ROOT,
            env={
                # MLflow leaves the registry of another test's home there
                **{name: value for name, value in os.environ.items() if "TRACKING" not in name},
                "FLYWHEEL_HOME": str(home.root),
                "OMP_NUM_THREADS": "1",
            },
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text()
        running = Server(home, process, int(json.loads(line)["url"].rpartition(":")[2]), log)
        deadline = time.monotonic() + START_S
        while not _ready(running):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield running
    finally:
        process.kill()
        process.communicate()


def _ready(server: Server) -> bool:
    try:
        return server.ask("/readyz")[0] == 200
    except OSError:
        return False


def kept(home: Home) -> tuple[Counter[str], Counter[str]]:
    """How often each prediction and each feedback is in the warehouse."""
    with open_store(home.warehouse, read_only=True) as store:
        return (
            Counter(i for (i,) in store.rows("SELECT prediction_id FROM predictions", [])),
            Counter(i for (i,) in store.rows("SELECT feedback_id FROM feedback", [])),
        )


def send_junk(server: Server) -> None:
    """What is no HTTP, and a client that leaves in the middle of its body."""
    for junk in (b"\x00\xff" * 4_000, b"GET /\xff HTTP/1.1\r\n\r\n", b"POST / HTTP/9\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as raw:
            raw.sendall(junk)
            assert b" 4" in raw.recv(4_096)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as raw:
        raw.sendall(b"POST /predict HTTP/1.1\r\ncontent-length: 100\r\n\r\n{")


def test_every_acknowledged_record_outlives_junk_and_kill_9_once(server: Server) -> None:
    answered: list[str] = []
    accepted: list[str] = []

    def use(client: int) -> None:
        for number in range(10_000):
            try:
                text = f"the {SECRET} of order {client} {number} works"
                status, answer = server.ask("/predict", {"text": text})
                assert status == 200
                answered.append(answer["prediction_id"])
                about = {"prediction_id": answer["prediction_id"], "rater_id": f"rater-{client}"}
                given = {"kind": "accept", "feedback_id": f"{client}-{number}", **about}
                status, receipt = server.ask("/feedback", given)
                assert status == 202
                accepted.append(receipt["feedback_id"])
            except (OSError, http.client.HTTPException, ValueError):
                return

    send_junk(server)
    threads = [threading.Thread(target=use, args=(client,)) for client in range(CLIENTS)]
    for thread in threads:
        thread.start()
    inbox = server.home.inbox(CASE.name)
    while len(accepted) < ENOUGH // 2:
        assert any(thread.is_alive() for thread in threads), server.log.read_text()
        time.sleep(0.01)
    # a night in the middle of it leaves what is being written alone
    ingest_inbox(CASE, server.home, at=AT)
    while len(accepted) < ENOUGH:
        time.sleep(0.01)
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()
    for thread in threads:
        thread.join()

    for _ in range(2):
        ingest_inbox(CASE, server.home, at=AT)
        predictions, feedback = kept(server.home)
        assert set(answered) <= set(predictions)
        assert set(accepted) <= set(feedback)
        assert {*predictions.values(), *feedback.values()} == {1}
        # at most what each client was waiting for is there beyond that
        assert len(predictions) + len(feedback) <= len(answered) + len(accepted) + CLIENTS
    with open_store(server.home.warehouse, read_only=True) as store:
        assert store.counts(CASE.name)["quarantined"] == 0
        assert store.parked(CASE.name) == 0
    assert [path.name for path in inbox.iterdir() if path.is_file()] == []
    assert SECRET not in server.log.read_text()
    assert "Traceback" not in server.log.read_text()
