"""``flywheel doctor --security`` names every door that is open, and what closes it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from flows.cli.main import cli
from flywheel import catalog
from flywheel.access import prefect_password
from flywheel.catalog import base_models
from flywheel.config import Home, SourceConfig, UseCase
from flywheel.diagnostics import listeners, security_check
from flywheel.diagnostics.door import Door
from flywheel.home import backups
from flywheel.tracking.relocation import local_registry

NOBODY = dict.fromkeys(listeners.PORTS, "1")
"""Ports on which nothing answers."""


@pytest.fixture
def closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "FLYWHEEL_UMASK", "PREFECT_HOME"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    home = Home(tmp_path / "home")
    home.root.mkdir(mode=0o700)
    return home


def opened(use_case: UseCase, home: Home, **environ: str) -> dict[str, Door]:
    """The open doors by name."""
    found = security_check.doors(use_case, home, NOBODY | environ)
    assert all(door.fix for door in found if not door.ok)
    return {door.name: door for door in found if not door.ok}


def serving(use_case: UseCase, **changes: object) -> UseCase:
    return use_case.model_copy(update={"serving": use_case.serving.model_copy(update=changes)})


def test_a_home_as_it_is_made_has_no_open_door(closed: Home, use_case: UseCase) -> None:
    assert opened(use_case, closed) == {}


@pytest.mark.skipif(os.geteuid() == 0 and not os.access("/", os.X_OK), reason="no rights at all")
def test_files_that_others_read_are_named_with_what_closes_them(
    closed: Home, use_case: UseCase, tmp_path: Path
) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and "pytest" in str(folder):
            folder.chmod(0o755)
    closed.root.chmod(0o755)
    secret, copy = closed.root / "mlflow-password", tmp_path / "home.tar"
    for path in (secret, copy):
        path.write_text("x")
        path.chmod(0o644)
    backups.note(closed, copy)
    found = opened(use_case, closed)
    assert found.keys() >= {"home", "secret"}
    assert found["home"].fix == f"chmod -R go= {closed.root}"
    assert found["secret"].fix == f"chmod 600 {secret}"
    if all(folder.stat().st_mode & 1 for folder in copy.parents):
        assert found["backup"].fix == f"chmod go= {copy}"
    for path, mode in ((closed.root, 0o700), (secret, 0o600), (copy, 0o600)):
        path.chmod(mode)
    assert opened(use_case, closed) == {}


def test_a_group_that_reads_the_home_is_a_door(
    closed: Home, use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYWHEEL_UMASK", "027")
    assert "unset FLYWHEEL_UMASK" in opened(use_case, closed, FLYWHEEL_UMASK="027")["umask"].fix


@pytest.fixture
def reached(tmp_path: Path) -> Path:
    """A folder as far as which everybody gets."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and "pytest" in str(folder):
            folder.chmod(0o755)
    if not all(folder.stat().st_mode & 0o011 == 0o011 for folder in tmp_path.parents):
        pytest.skip("nobody else gets into the folder of temporary files")
    return tmp_path


def test_a_home_that_its_group_enters_is_a_door(
    closed: Home, use_case: UseCase, reached: Path
) -> None:
    closed.root.chmod(0o750)
    assert opened(use_case, closed)["home"].fix == f"chmod -R g= {closed.root}"
    reached.chmod(0o700)
    assert opened(use_case, closed) == {}, "nobody gets as far as the home"


def test_what_is_learned_from_and_others_may_write_is_a_door(
    closed: Home, use_case: UseCase, reached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(reached)
    feed, own = reached / "feed.csv", Path("usecases", f"{use_case.name}.yaml")
    own.parent.mkdir()
    # whatever the umask is here
    own.parent.chmod(0o755)
    for path in (feed, own):
        path.write_text("x")
        path.chmod(0o644)
    source = SourceConfig(name="feed", kind="files", location=str(feed))
    case = use_case.model_copy(update={"sources": [source]})
    assert opened(case, closed) == {}
    for path in (feed, own):
        path.chmod(0o666)
        assert opened(case, closed)["writable"].fix == f"chmod o-w {path}"
        path.chmod(0o644)


@pytest.mark.parametrize(
    ("changes", "name"), [({"texts_per_s": 0.0}, "quota"), ({"unproven": True}, "unproven")]
)
def test_settings_that_let_anybody_through_are_doors(
    closed: Home, use_case: UseCase, changes: dict[str, object], name: str
) -> None:
    assert opened(serving(use_case, **changes), closed).keys() == {name}


def test_one_customer_who_decides_alone_is_a_door(closed: Home, use_case: UseCase) -> None:
    def gate(**changes: object) -> UseCase:
        told = use_case.gate.model_copy(update={"evidence_sources": ["app"], **changes})
        return use_case.model_copy(update={"gate": told})

    assert opened(gate(), closed) == {}
    assert opened(gate(dishonest_customers=0), closed).keys() == {"influence"}
    assert opened(gate(dishonest_customers=0, dishonest_share=0.1), closed) == {}


def test_a_base_that_is_trusted_as_it_came_is_a_door(closed: Home, use_case: UseCase) -> None:
    name = next(name for name in catalog.models() if base_models.is_taken_on_trust(name))
    training = use_case.training.model_copy(update={"base": name})
    case = use_case.model_copy(update={"training": training})
    assert opened(case, closed)["base"].fix == f"base_sha256: {{{name}: SHA256}}"
    pinned = case.model_copy(update={"base_sha256": {name: "0" * 64}})
    assert opened(pinned, closed) == {}


def test_what_is_sent_in_clear_or_elsewhere_is_a_door(closed: Home, use_case: UseCase) -> None:
    hooks = "http://127.0.0.1:8077/hooks/mlflow,http://192.0.2.1/x?token=abc"
    (found,) = opened(use_case, closed, WEBHOOK_URLS=hooks).values()
    assert found.fix == "WEBHOOK_URLS=http://127.0.0.1:8077/hooks/mlflow make mlflow"
    assert "abc" not in found.detail
    assert local_registry(closed) is None


# ---- Servers that are there


@contextmanager
def answering(answers: dict[str, tuple[int, str]], host: str = "127.0.0.1") -> Iterator[int]:
    """A server that gives these answers by path; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers.get(self.path.partition("?")[0], (404, "{}"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer((host, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


SEARCH = "/api/2.0/mlflow/experiments/search"


@pytest.mark.parametrize("status", [200, 401])
def test_an_mlflow_that_asks_for_no_password_is_a_door(
    closed: Home, use_case: UseCase, status: int
) -> None:
    with answering({SEARCH: (status, '{"experiments": []}')}) as port:
        found = opened(use_case, closed, MLFLOW_PORT=str(port))
    assert [door.fix for door in found.values()] == (["make mlflow"] if status == 200 else [])


@pytest.mark.parametrize(
    ("host", "asked", "doors"),
    [("0.0.0.0", 422, {"service"}), ("0.0.0.0", 401, set()), ("127.0.0.1", 422, set())],
)
def test_a_service_beyond_this_machine_without_keys_is_a_door(
    closed: Home, use_case: UseCase, host: str, asked: int, doors: set[str]
) -> None:
    answers = {"/healthz": (200, '{"alive": true}'), "/predict": (asked, "{}")}
    with answering(answers, host) as port:
        assert opened(use_case, closed, SERVE_PORT=str(port)).keys() == doors


def test_mlflow_s_own_server_of_a_model_is_a_door(closed: Home, use_case: UseCase) -> None:
    answers = {"/ping": (200, ""), "/invocations": (405, "")}
    with answering(answers) as port:
        (door,) = opened(use_case, closed, MLFLOW_SERVE_PORT=str(port)).values()
    assert door.fix == f"stop it; flywheel serve -u {use_case.name}"


def test_a_server_that_other_machines_reach_is_a_door(closed: Home, use_case: UseCase) -> None:
    with answering({}, "0.0.0.0") as port:
        assert listeners.listening_to_all({port}) == {port: "0.0.0.0"}
        with socket.create_server(("127.0.0.1", 0)) as local:
            assert listeners.listening_to_all({local.getsockname()[1]}) == {}
        found = opened(use_case, closed, MLFLOW_SERVE_PORT=str(port))
    assert found["reachable"].fix.startswith("make mlflow-serve")


SERVER = """
import http.server
class Anybody(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b'"3.8.8"')
    def log_message(self, *args): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Anybody)
print(server.server_port, flush=True)
server.serve_forever()
"""


def test_a_server_of_this_home_on_another_port_is_found(
    closed: Home, use_case: UseCase, tmp_path: Path
) -> None:
    command = [sys.executable, "-I", "-c", SERVER, "prefect server start"]
    told = {"FLYWHEEL_HOME": str(closed.root)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=told, cwd="/") as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            (door,) = opened(use_case, closed).values()
            assert door.fix == "stop it; make server"
            assert f"127.0.0.1:{port}/api takes orders from everybody" in door.detail
            assert listeners.of_home(tmp_path / "home2") == [], "it is another home's"
        finally:
            server.kill()


def test_who_takes_a_request_and_says_nothing_is_no_closed_door(
    closed: Home, use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (listeners, prefect_password):
        monkeypatch.setattr(module, "_PROBE_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = str(silent.getsockname()[1])
        for variable in listeners.PORTS:
            (door,) = opened(use_case, closed, **{variable: port}).values()
            assert "gave no answer within 0.05 s" in door.detail
            assert door.fix.startswith("flywheel doctor --security")


# ---- The command


def test_the_command_ends_with_1_where_a_door_is_open(
    closed: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYWHEEL_HOME", str(closed.root))
    for name, value in NOBODY.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WEBHOOK_URLS", "http://192.0.2.1/x")
    shown = CliRunner().invoke(cli, ["doctor", "--security", "--json"])
    assert shown.exit_code == 1, shown.output
    found = json.loads(shown.stdout)
    assert {"name", "ok", "detail", "fix"} == found[0].keys()
    assert "webhook" in [one["name"] for one in found if not one["ok"]]
    told = CliRunner().invoke(cli, ["doctor", "--security"])
    assert "close it: WEBHOOK_URLS=" in told.stdout
