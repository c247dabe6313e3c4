"""MLflow's server asks for the home's password, and its webhooks call the service alone."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from flywheel.access.mlflow_app import APP, CHECK, Guard, guarded, only_these
from flywheel.access.mlflow_password import FILE, is_let_in, let_in, password
from flywheel.errors import HomeUnusable

WANTED = "correct-horse-battery"
SERVICE = "http://127.0.0.1:8077/hooks/mlflow"
HERE = "http://127.0.0.1:5000"


async def everything(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"registry"})


def header(user: str, secret: str, scheme: str = "Basic") -> str:
    return f"{scheme} {base64.b64encode(f'{user}:{secret}'.encode()).decode()}"


@pytest.mark.parametrize(
    "sent",
    [
        None,
        "",
        "Basic",
        "Basic !!!",
        header("flywheel", ""),
        header("admin", WANTED),
        header("flywheel", WANTED + "x"),
        header("flywheel", WANTED, "Bearer"),
        f"Bearer {WANTED}",
    ],
)
def test_nobody_without_the_password_reaches_the_registry(sent: str | None) -> None:
    client = TestClient(Guard(everything, WANTED))  # type: ignore[arg-type]
    headers = {} if sent is None else {"Authorization": sent}
    for method, path in (
        ("GET", "/"),
        ("POST", "/api/2.0/mlflow/model-versions/set-tag"),
        ("POST", "/ajax-api/2.0/mlflow/upload-artifact"),
        ("POST", "/health/../api/2.0/mlflow/runs/create"),
    ):
        answer = client.request(method, path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic ")
        assert b"registry" not in answer.content


def test_who_has_the_password_is_let_in_and_health_asks_for_none() -> None:
    client = TestClient(Guard(everything, WANTED))  # type: ignore[arg-type]
    assert client.get("/", auth=("flywheel", WANTED)).content == b"registry"
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:5000", 200),
        ("HTTP://127.0.0.1:5000", 200),
        ("https://notebook.example", 200),
        ("https://a.pages.example", 200),
        ("http://127.0.0.1:3000", 403),
        ("http://localhost:5000", 403),
        ("https://evil.example", 403),
        ("http://127.0.0.1:5000.evil.example", 403),
        ("null", 403),
        ("", 403),
        ("http://[", 403),
    ],
)
def test_a_browser_that_knows_the_password_sends_it_for_no_other_page(
    origin: str, status: int
) -> None:
    named = frozenset({"https://notebook.example", "https://*.pages.example"})
    guard = Guard(everything, WANTED, named)  # type: ignore[arg-type]
    client = TestClient(guard, base_url="http://127.0.0.1:5000")
    for method, path in (("POST", "/ajax-api/2.0/mlflow/runs/create"), ("GET", "/get-artifact")):
        answer = client.request(method, path, auth=("flywheel", WANTED), headers={"Origin": origin})
        assert answer.status_code == status
        assert (b"registry" in answer.content) is (status == 200)
    unknown = client.post("/", headers={"Origin": origin})
    assert unknown.status_code == (401 if status == 200 else 403), "no page asks for a password"


def test_the_password_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    made = password(tmp_path)
    assert password(tmp_path) == made
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert is_let_in(header("flywheel", made), made)
    (tmp_path / FILE).write_text("short")
    with pytest.raises(HomeUnusable, match="make mlflow makes a new one"):
        password(tmp_path)


@pytest.mark.parametrize(
    ("uri", "environ", "sent"),
    [
        (HERE, {}, True),
        ("http://localhost:5000", {}, True),
        ("https://mlflow.example", {}, False),
        ("http://127.0.0.1.evil.example:5000", {}, False),
        ("sqlite:///mlflow.db", {}, False),
        (HERE, {"MLFLOW_TRACKING_TOKEN": "mine"}, False),
        (HERE, {"MLFLOW_TRACKING_USERNAME": "me"}, False),
    ],
)
def test_our_commands_send_it_to_this_machine_alone(
    tmp_path: Path, uri: str, environ: dict[str, str], sent: bool
) -> None:
    let_in(tmp_path, uri, environ)
    assert "MLFLOW_TRACKING_PASSWORD" not in environ, "none was made"
    made = password(tmp_path)
    let_in(tmp_path, uri, environ)
    assert (environ.get("MLFLOW_TRACKING_PASSWORD") == made) is sent


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:4200/api/admin/settings",
        "http://127.0.0.1:8077/predict",
        "http://127.0.0.1:8077/hooks/mlflow?x",
        "http://127.0.0.1:8077@127.0.0.1:22/hooks/mlflow",
        "http://169.254.169.254/latest/meta-data",
        "",
    ],
)
def test_a_webhook_calls_the_service_and_no_other_port(url: str) -> None:
    from mlflow.exceptions import MlflowException

    check = only_these(frozenset({SERVICE}))
    check(SERVICE)
    with pytest.raises(MlflowException, match=r"may call http://127\.0\.0\.1:8077/hooks/mlflow"):
        check(url)


def test_this_mlflow_asks_of_webhooks_and_starts_its_app_where_we_stand() -> None:
    import mlflow.server as server
    import mlflow.store.model_registry.sqlalchemy_store as store
    import mlflow.webhooks.delivery as delivery

    for module in (store, delivery):
        assert callable(getattr(module, CHECK))
    command = guarded(server._build_uvicorn_command)(
        None, "127.0.0.1", 5000, 1, "mlflow.server.fastapi_app:app", None, False
    )
    assert command[-2:] == ["--factory", APP]
    assert "mlflow.server.fastapi_app:app" not in command
