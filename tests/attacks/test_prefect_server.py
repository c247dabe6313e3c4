"""A page that a developer happens to open gives no orders to Prefect's server.

The worker runs what a deployment names, so an order is a command. The servers here are Prefect's
own application with the settings of `make server`, and of a night's temporary server, without
their background services.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect import settings
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from flows.servers.prefect_server import protect
from flywheel.access.prefect_password import CLIENT, NO_ORIGIN, SERVER, set_strings
from flywheel.config import Home

# the group that has imported Prefect's server, which takes seconds
pytestmark = pytest.mark.prefect

OWN, EVIL = "http://127.0.0.1:4200", "https://evil.example"
CORS, CSRF = "PREFECT_SERVER_CORS_ALLOWED_ORIGINS", "PREFECT_SERVER_CSRF_PROTECTION_ENABLED"
FORGED = {"Prefect-Csrf-Client": "a", "Prefect-Csrf-Token": "0" * 64}
FROM_A_PAGE = {
    "a foreign page": {"Origin": EVIL},
    "a sandboxed frame": {"Origin": "null"},
    "a form, which asks no leave": {"Origin": EVIL, "Content-Type": "text/plain"},
    "a rebound name": {"Origin": EVIL, "Host": "evil.example", **FORGED},
    "a wrong string": {"Authorization": "Basic YWRtaW46YWRtaW4="},
}
SOCKETS = (
    "/api/events/in",
    "/api/events/out",
    "/api/logs/out",
    "/api/task_runs/subscriptions/scheduled",
    "/api/work_pools/cpu/workers/connect",
)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `make server` runs with in a new home."""
    home = Home(tmp_path_factory.mktemp("home"))
    environ: dict[str, str] = {}
    protect(home, environ)
    set_strings(home, environ)
    return environ


@pytest.fixture(scope="module", params=["make server", "temporary"])
def server(
    request: pytest.FixtureRequest,
    lasting: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[TestClient]:
    from prefect.server.api.server import LIFESPAN_RAN_FOR_APP, create_app
    from prefect.server.database import provide_database_interface
    from prefect.server.database.dependencies import temporary_database_interface

    temporary = request.param == "temporary"
    database = tmp_path_factory.mktemp("prefect") / "prefect.db"
    changed = {
        settings.PREFECT_SERVER_API_AUTH_STRING: lasting[SERVER],
        settings.PREFECT_SERVER_CSRF_PROTECTION_ENABLED: not temporary and lasting[CSRF] == "true",
        settings.PREFECT_SERVER_CORS_ALLOWED_ORIGINS: NO_ORIGIN if temporary else lasting[CORS],
        settings.PREFECT_SERVER_DATABASE_CONNECTION_URL: f"sqlite+aiosqlite:///{database}",
        settings.PREFECT_SERVER_UI_ENABLED: False,
    }

    async def make_tables() -> None:
        known = provide_database_interface()
        tables = [known.Flow.__table__, known.CsrfToken.__table__]
        engine = await known.engine()
        async with engine.begin() as connection:
            await connection.run_sync(known.Base.metadata.create_all, tables=tables)

    with settings.temporary_settings(changed), temporary_database_interface():
        app = create_app(ephemeral=temporary, ignore_cache=True)
        # its hundred migrations take most of a minute, and no test here needs its services
        LIFESPAN_RAN_FOR_APP.add(app)
        with TestClient(app, OWN) as client:
            assert client.portal is not None
            client.portal.call(make_tables)
            yield client


def credentials(environ: dict[str, str]) -> tuple[str, str]:
    user, _, password = environ[CLIENT].partition(":")
    return user, password


@pytest.mark.parametrize("headers", FROM_A_PAGE.values(), ids=FROM_A_PAGE)
def test_a_page_creates_no_flow(server: TestClient, headers: dict[str, str]) -> None:
    answer = server.post("/api/flows/", content=b'{"name": "evil"}', headers=headers)

    assert answer.status_code in (401, 403)
    # nor does a browser come to ask for credentials, and then remember them
    assert "www-authenticate" not in answer.headers


@pytest.mark.parametrize("headers", FROM_A_PAGE.values(), ids=FROM_A_PAGE)
@pytest.mark.parametrize("path", ["/api/csrf-token?client=a", "/api/admin/version"])
def test_a_page_reads_nothing_and_gets_no_token(
    server: TestClient, path: str, headers: dict[str, str]
) -> None:
    answer = server.get(path, headers=headers)

    assert answer.status_code == 401
    assert "access-control-allow-origin" not in answer.headers


def test_a_page_gets_no_leave_to_send_json_or_credentials(server: TestClient) -> None:
    asked = {
        "Origin": EVIL,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type, authorization",
    }
    answer = server.options("/api/flows/", headers=asked)

    assert answer.status_code == 400
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("protocols", [[], ["prefect"]], ids=["of old", "with a handshake"])
@pytest.mark.parametrize("path", SOCKETS)
def test_no_websocket_talks_to_a_page(server: TestClient, path: str, protocols: list[str]) -> None:
    def listen() -> None:
        origin = {"Origin": EVIL}
        with server.websocket_connect(path, subprotocols=protocols, headers=origin) as socket:
            socket.send_json({"type": "auth", "token": None})
            socket.receive_json()

    with pytest.raises(WebSocketDisconnect):
        listen()


def test_these_are_all_websockets_there_are(server: TestClient) -> None:
    from fastapi.routing import APIWebSocketRoute
    from prefect.server.api.server import API_ROUTERS

    routes = [route for router in API_ROUTERS for route in router.routes]
    known = {route.path for route in routes if isinstance(route, APIWebSocketRoute)}

    assert {f"/api{path}".replace("{work_pool_name}", "cpu") for path in known} == set(SOCKETS)


def test_who_has_the_string_creates_flows(server: TestClient, lasting: dict[str, str]) -> None:
    auth = credentials(lasting)
    token = server.get("/api/csrf-token?client=b", auth=auth)
    # where it is not asked for it is not given either
    headers = (
        {"Prefect-Csrf-Client": "b", "Prefect-Csrf-Token": token.json()["token"]}
        if token.status_code == 200
        else {}
    )
    made = server.post("/api/flows/", json={"name": "ours"}, auth=auth, headers=headers)

    assert made.status_code == 201
    assert made.json()["name"] == "ours"


def test_the_string_alone_is_not_enough_for_an_order_to_the_lasting_server(
    server: TestClient, lasting: dict[str, str], request: pytest.FixtureRequest
) -> None:
    made = server.post("/api/flows/", json={"name": "x"}, auth=credentials(lasting))

    temporary = "temporary" in request.node.name
    assert made.status_code == (201 if temporary else 403)


def test_the_string_is_in_no_answer(server: TestClient, lasting: dict[str, str]) -> None:
    auth = credentials(lasting)
    page = server.get("/api/admin/settings", auth=auth).text

    assert auth[1] not in page
    assert "auth_string" in page


def test_the_servers_of_a_night_listen_on_this_machine_only() -> None:
    from prefect.server.api.server import SubprocessASGIServer

    assert SubprocessASGIServer(port=1).address == "http://127.0.0.1:1"


def test_make_server_listens_on_this_machine_only() -> None:
    makefile = Path(__file__).resolve().parents[2] / "Makefile"

    assert "prefect server start --host 127.0.0.1 " in makefile.read_text(encoding="utf-8")
