"""Which servers here let anybody in: Prefect's, MLflow's, the service, and MLflow's of a model.

They are asked what anybody may ask. What gives no answer in time is no closed door.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from urllib.parse import urlsplit

from flywheel.access import prefect_password
from flywheel.access.mlflow_app import ORIGINS, URLS
from flywheel.config import Home, UseCase
from flywheel.diagnostics import listeners
from flywheel.diagnostics.door import Door
from flywheel.errors import OrchestratorUnavailable
from flywheel.serving.http.auth import VARIABLE as KEYS
from flywheel.tracking.relocation import local_registry
from flywheel.urls import without_secrets


def doors(use_case: UseCase, home: Home, environ: Mapping[str, str]) -> Iterator[Door]:
    """Whatever of the home's listens here, or is named by the environment."""
    yield from _prefect(home, environ)
    yield from _mlflow(home, environ)
    yield from _webhooks(home, environ)
    yield from _service(use_case, environ)
    yield from _listeners(use_case, home, environ)


_AGAIN = "flywheel doctor --security (once more, when the machine has less to do)"


def _prefect(home: Home, environ: Mapping[str, str]) -> Iterator[Door]:
    url = prefect_password.server_url(home, dict(environ))
    yield from _asked_prefect(url, quiet=False)
    if listeners.in_clear(url):
        detail = f"{without_secrets(url)} is asked without TLS, and the string is sent to it"
        yield Door("Prefect", False, detail, "PREFECT_API_URL=https://...")
    if "*" in environ.get("PREFECT_SERVER_CORS_ALLOWED_ORIGINS", "").split(","):
        detail = "PREFECT_SERVER_CORS_ALLOWED_ORIGINS lets every page read the server's answers"
        yield Door("Prefect", False, detail, "unset PREFECT_SERVER_CORS_ALLOWED_ORIGINS")


def _mlflow(home: Home, environ: Mapping[str, str]) -> Iterator[Door]:
    uri = home.mlflow_uri
    usual = f"http://127.0.0.1:{listeners.ports(environ)[listeners.MLFLOW]}"
    url = uri if urlsplit(uri).scheme in ("http", "https") else usual
    shown = without_secrets(url)
    yield from _asked_mlflow(url, quiet=False)
    if listeners.in_clear(url):
        detail = f"{shown} is asked without TLS, and texts and passwords are sent to it"
        yield Door("MLflow", False, detail, "MLFLOW_TRACKING_URI=https://...")
    if "*" in environ.get(ORIGINS, "").split(","):
        detail = f"{ORIGINS} lets every page send what a browser's remembered password allows"
        yield Door("MLflow", False, detail, f"unset {ORIGINS}; make mlflow")
    if without_secrets(uri) != uri:
        detail = "MLFLOW_TRACKING_URI holds a password, which every child process is told"
        fix = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead"
        yield Door("MLflow", False, detail, fix)


def _webhooks(home: Home, environ: Mapping[str, str]) -> Iterator[Door]:
    given = environ.get("WEBHOOK_URLS") or environ.get(URLS, "")
    named = {url for url in given.split(",") if url}
    registered = _registered(home)
    elsewhere = {
        url
        for url in named | registered
        if listeners.in_clear(url) or listeners.is_public(urlsplit(url).hostname or "localhost")
    }
    for url in sorted(elsewhere):
        where = "WEBHOOK_URLS lets webhooks call" if url in named else "a webhook in MLflow calls"
        shown = without_secrets(url)
        if listeners.in_clear(url):
            detail = f"{where} {shown}, on another machine and without TLS"
            yield Door("webhook", False, detail, _without(url, named))
        else:
            detail = f"{where} {shown}, on another machine"
            yield Door("webhook", False, detail, _without(url, named))
    if not elsewhere:
        yield Door("webhooks", True, "none calls another machine")


def _without(url: str, named: set[str]) -> str:
    if url not in named:
        return "delete it on MLflow's page, Settings, Webhooks"
    here = [one for one in sorted(named) if not listeners.is_public(urlsplit(one).hostname or "")]
    return f"WEBHOOK_URLS={','.join(here) or 'http://127.0.0.1:8077/hooks/mlflow'} make mlflow"


def _registered(home: Home) -> set[str]:
    """The URLs of the webhooks in the home's own registry."""
    path = local_registry(home)
    if path is None:
        return set()
    query = "SELECT url FROM webhooks WHERE deleted_timestamp IS NULL"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as con:
            return {url for (url,) in con.execute(query)}
    except sqlite3.OperationalError:
        # a registry from before there were webhooks
        return set()


def _service(use_case: UseCase, environ: Mapping[str, str]) -> Iterator[Door]:
    port = listeners.ports(environ)[listeners.SERVICE]
    yield from _asked_service(f"http://127.0.0.1:{port}", use_case.name, quiet=False)


def _listeners(use_case: UseCase, home: Home, environ: Mapping[str, str]) -> Iterator[Door]:
    """Servers on other ports than the usual, and whatever of ours other machines can connect to.

    The service is for them, where it asks for keys.
    """
    ports = listeners.ports(environ)
    asked = {*ports.values(), _port(prefect_password.server_url(home, dict(environ)))}
    others = [one for one in listeners.of_home(home.root) if one.port not in asked]
    for one in others:
        yield from _ask(one, use_case)
    usual_url = f"http://127.0.0.1:{ports[listeners.MODEL_SERVER]}"
    yield from _asked_model_server(usual_url, use_case.name)
    usual = listeners.listening_to_all(ports.values())
    found = {(name, port): usual[port] for name, port in ports.items() if port in usual}
    found |= {(o.name, o.port): o.address for o in others if listeners.is_public(o.address)}
    for (name, port), address in found.items():
        if name != listeners.SERVICE:
            detail = f"{name} listens on {address} port {port}: other machines reach it"
            yield Door("reachable", False, detail, f"{_MADE_BY[name]} (it listens on 127.0.0.1)")


def _port(url: str) -> int | None:
    try:
        return urlsplit(url).port
    except ValueError:
        return None


def _ask(one: listeners.Listener, use_case: UseCase) -> Iterator[Door]:
    """What is open at a server on another port than the usual; nothing where it is closed."""
    if one.name == listeners.PREFECT:
        yield from _asked_prefect(f"{one.url}/api", quiet=True)
    elif one.name == listeners.MLFLOW:
        yield from _asked_mlflow(one.url, quiet=True)
    elif one.name == listeners.SERVICE:
        yield from _asked_service(one.url, use_case.name, quiet=True)
    else:
        yield from _asked_model_server(one.url, use_case.name)


def _asked_prefect(url: str, *, quiet: bool) -> Iterator[Door]:
    shown = without_secrets(url)
    try:
        answers = prefect_password.answers_anybody(url)
    except OrchestratorUnavailable as silent:
        yield Door("Prefect", False, str(silent), _AGAIN)
        return
    if answers:
        detail = (
            f"the server at {shown} takes orders from everybody who reaches it, also from a page "
            "in a browser, and its workers run commands"
        )
        yield Door("Prefect", False, detail, "stop it; make server")
    elif not quiet:
        said = "no server answers" if answers is None else "the server asks for credentials"
        yield Door("Prefect", True, f"{said} at {shown}")


def _asked_mlflow(url: str, *, quiet: bool) -> Iterator[Door]:
    shown = without_secrets(url)
    try:
        answers = listeners.mlflow_answers_anybody(url)
    except listeners.Silent as silent:
        yield Door("MLflow", False, str(silent), _AGAIN)
        return
    if answers:
        detail = f"the server at {shown} asks nobody for a password: who reaches it moves aliases"
        yield Door("MLflow", False, detail, "make mlflow")
    elif not quiet:
        said = "no server answers" if answers is None else "the server asks for a password"
        yield Door("MLflow", True, f"{said} at {shown}")


def _asked_service(url: str, name: str, *, quiet: bool) -> Iterator[Door]:
    port = _port(url) or 0
    try:
        answers = listeners.service_answers_anybody(url)
    except listeners.Silent as silent:
        yield Door("service", False, str(silent), _AGAIN)
        return
    if answers and port in listeners.listening_to_all({port}):
        detail = f"the service on port {port} listens beyond this machine, and asks for no key"
        yield Door("service", False, detail, f"{KEYS}=KEY flywheel serve -u {name}")
    elif not quiet and answers is None:
        yield Door("service", True, f"none answers on port {port}")
    elif not quiet:
        said = "it serves programs on this machine, which need no key"
        yield Door("service", True, said if answers else "it asks for a key")


def _asked_model_server(url: str, name: str) -> Iterator[Door]:
    try:
        answers = listeners.model_server_answers_anybody(url)
    except listeners.Silent as silent:
        yield Door("model server", False, str(silent), _AGAIN)
        return
    if answers:
        detail = (
            f"MLflow's own server of a model at {url} asks nobody for a key, and answers whatever "
            "name it is called by: a page whose name was turned to this machine may ask it"
        )
        yield Door("model server", False, detail, f"stop it; flywheel serve -u {name}")


_MADE_BY = {
    listeners.PREFECT: "make server",
    listeners.MLFLOW: "make mlflow",
    listeners.MODEL_SERVER: "make mlflow-serve",
}
