"""The string that Prefect's server asks for: made once, read by one, sent to nobody else."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from prefect import settings

from flows.cli.exits import with_prefect
from flows.servers import prefect_server
from flywheel.access.prefect_password import (
    CLIENT,
    NO_ORIGIN,
    SERVER,
    auth_string,
    finding,
    set_strings,
    write_profile,
)
from flywheel.config import Home
from flywheel.errors import HomeUnusable, OrchestratorUnavailable

ROOT = Path(__file__).resolve().parents[2]
REMOTE = "https://prefect.example.com/api"


@contextmanager
def answering(status: int, body: str) -> Iterator[str]:
    """The API's URL of a server that is healthy, and says the same to everything else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            healthy = self.path == "/api/health"
            said = b"true" if healthy else body.encode()
            self.send_response(200 if healthy else status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/api"
        finally:
            server.shutdown()
            thread.join()


# ---- The file


def test_the_string_is_made_once_for_all_who_ask_at_the_same_time(home: Home) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: auth_string(home), range(32)))

    assert len(made) == 1
    assert [path.name for path in home.prefect.iterdir()] == ["auth"]


def test_only_its_user_can_read_it(home: Home) -> None:
    before = os.umask(0)
    try:
        auth_string(home)
    finally:
        os.umask(before)

    assert stat.S_IMODE(home.prefect_auth.stat().st_mode) == 0o600


def test_one_that_others_could_read_is_closed_to_them(home: Home) -> None:
    made = auth_string(home)
    home.prefect_auth.chmod(0o644)

    assert auth_string(home) == made
    assert stat.S_IMODE(home.prefect_auth.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "flywheel:\n", "short:1234", "nocolon" * 8])
def test_a_damaged_file_is_a_sentence_and_no_open_server(home: Home, content: str) -> None:
    auth_string(home)
    home.prefect_auth.write_text(content)

    with pytest.raises(HomeUnusable, match="Remove it") as error:
        set_strings(home, {})
    assert "1234" not in error.value.message


# ---- Who gets it


def test_server_and_client_get_the_same(home: Home) -> None:
    environ: dict[str, str] = {}
    set_strings(home, environ)

    assert environ == {SERVER: auth_string(home), CLIENT: auth_string(home)}


@pytest.mark.parametrize("given", [SERVER, CLIENT])
def test_a_user_who_has_set_one_keeps_it_for_both(home: Home, given: str) -> None:
    environ = {given: "me:my-own-password"}
    set_strings(home, environ)

    assert environ == {SERVER: "me:my-own-password", CLIENT: "me:my-own-password"}
    assert not home.prefect_auth.exists()


def test_a_server_elsewhere_is_not_sent_it(home: Home) -> None:
    environ = {"PREFECT_API_URL": REMOTE}
    set_strings(home, environ)
    assert CLIENT not in environ

    profile = home.root / "profiles.toml"
    profile.write_text(f'active = "a"\n[profiles.a]\nPREFECT_API_URL = "{REMOTE}"\n')
    environ = {"PREFECT_PROFILES_PATH": str(profile)}
    set_strings(home, environ)
    assert CLIENT not in environ


# what a command does before it imports Prefect, and what Prefect then believes
OPENED = """
import json
from flywheel.config import Home
from flywheel.home.environment import open_home, prepare
prepare(Home())
open_home(Home())
from prefect.settings import get_current_settings
now = get_current_settings()
print(json.dumps({
    "same": now.api.auth_string.get_secret_value() == now.server.api.auth_string.get_secret_value(),
    "string": now.api.auth_string.get_secret_value(),
    "origins": now.server.api.cors_allowed_origins,
    "host": now.server.api.host,
    "server": now.api.url,
}))
"""


def test_a_night_starts_its_temporary_server_with_it(home: Home) -> None:
    environ = {n: v for n, v in os.environ.items() if not n.startswith("PREFECT_")}
    environ |= {"FLYWHEEL_HOME": str(home.root), "DO_NOT_TRACK": "1"}
    said = subprocess.check_output([sys.executable, "-c", OPENED], env=environ, cwd=ROOT)

    assert json.loads(said) == {
        "same": True,
        "string": auth_string(home),
        "origins": NO_ORIGIN,
        "host": "127.0.0.1",
        # also in the project's folder, whose profile names the server of make server
        "server": None,
    }


def test_a_command_gets_it_by_its_environment_and_not_by_its_arguments(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(os, "environ", {"FLYWHEEL_HOME": str(home.root)})
    monkeypatch.setattr(sys, "argv", ["", "prefect", "server", "start"])
    monkeypatch.setattr(os, "execvp", lambda _, arguments: started.append(arguments))

    prefect_server.run()

    assert started == [["prefect", "server", "start"]]
    assert os.environ[SERVER] == os.environ[CLIENT] == auth_string(home)


def test_prefect_typed_by_hand_finds_server_and_string(home: Home) -> None:
    environ = {"PREFECT_SERVER_API_PORT": "4299"}
    prefect_server.protect(home, environ)
    set_strings(home, environ)
    write_profile(home, environ)

    written = tomllib.loads(home.prefect_profile.read_text())
    profile = written["profiles"][written["active"]]
    assert profile["PREFECT_API_URL"] == "http://127.0.0.1:4299/api"
    assert profile[CLIENT] == profile[SERVER] == auth_string(home)
    assert profile["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] == "http://127.0.0.1:4299"
    assert profile["PREFECT_SERVER_CSRF_PROTECTION_ENABLED"] == "true"
    assert stat.S_IMODE(home.prefect_profile.stat().st_mode) == 0o600
    # each of them is one that Prefect knows
    assert all(hasattr(settings, name) for name in profile)


# ---- A server that is there


@pytest.mark.parametrize(("status", "ok"), [(200, False), (401, True)])
def test_the_doctor_names_a_server_that_takes_orders_from_everybody(
    home: Home, status: int, ok: bool
) -> None:
    with answering(status, json.dumps("3.8.8")) as url:
        (found,) = finding(home, {"PREFECT_API_URL": url})

    assert found.ok is ok
    assert ("make server" in found.detail) is not ok
    assert url in found.detail


def test_the_doctor_knows_the_server_of_the_last_deploy(home: Home) -> None:
    with answering(200, json.dumps("3.8.8")) as url:
        environ = {SERVER: "a:b", "PREFECT_SERVER_API_PORT": url.split(":")[-1].partition("/")[0]}
        write_profile(home, environ)
        (found,) = finding(home, {})

    assert not found.ok


def test_what_is_no_server_of_prefects_is_not_named(home: Home) -> None:
    with answering(200, "<html>") as url:
        assert finding(home, {"PREFECT_API_URL": url}) == []
    assert finding(home, {"PREFECT_API_URL": url}) == [], "nobody is there any more"


def test_a_server_that_refuses_this_process_is_a_sentence() -> None:
    with (
        answering(401, '{"exception_message": "Unauthorized"}') as url,
        settings.temporary_settings({settings.PREFECT_API_URL: url}),
        pytest.raises(OrchestratorUnavailable, match="refuses the credentials") as error,
        with_prefect(),
    ):
        pytest.fail("the flow began")
    assert "PREFECT_API_AUTH_STRING" in error.value.message
