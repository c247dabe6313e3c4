"""What listens here, for whom, and whether it asks who is there: Prefect, MLflow and the service.

Only looks: it asks each server what anybody may ask, and sends no secret.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Collection, Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import psutil

_PROBE_S = 3.0
_MOST_BYTES = 65_536
PREFECT, MLFLOW, SERVICE = "Prefect's server", "MLflow's server", "the service"
MODEL_SERVER = "MLflow's own server of a model"
PORTS = {
    "PREFECT_SERVER_API_PORT": (PREFECT, 4200),
    "MLFLOW_PORT": (MLFLOW, 5000),
    "SERVE_PORT": (SERVICE, 8077),
    "MLFLOW_SERVE_PORT": (MODEL_SERVER, 5077),
}
"""The Makefile's variables: what listens there, and where by default."""


def ports(environ: Mapping[str, str]) -> dict[str, int]:
    """What listens → where, as the environment says, else as the Makefile does."""
    return {name: _port(environ.get(variable), usual) for variable, (name, usual) in PORTS.items()}


def _port(given: str | None, usual: int) -> int:
    return int(given) if given and given.isascii() and given.isdigit() else usual


def listening_to_all(wanted: Collection[int]) -> dict[int, str]:
    """Port → address, of those that take connections from other machines, too."""
    try:
        found = psutil.net_connections(kind="tcp")
    except psutil.Error:
        # a system that shows other users' sockets to its root alone
        return {}
    listening = [one.laddr for one in found if one.status == psutil.CONN_LISTEN and one.laddr]
    return {at.port: at.ip for at in listening if at.port in wanted and is_public(at.ip)}


def is_public(host: str) -> bool:
    """Whether a host is more than this machine, by its own name or address."""
    try:
        return not ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host != "localhost"


def in_clear(url: str) -> bool:
    """Whether what is sent to a URL can be read on its way."""
    parts = urlsplit(url)
    return parts.scheme == "http" and is_public(parts.hostname or "localhost")


def mlflow_answers_anybody(url: str) -> bool | None:
    """Whether MLflow lists its experiments to whoever asks; None where no MLflow answers."""
    status, said = _ask(f"{url.rstrip('/')}/api/2.0/mlflow/experiments/search?max_results=1")
    if status in (401, 403):
        return False
    return True if status == 200 and isinstance(said, dict) and set(said) <= _SEARCHED else None


_SEARCHED = {"experiments", "next_page_token"}


def service_answers_anybody(url: str) -> bool | None:
    """Whether the service takes a text without a key; None where no service of ours answers."""
    status, said = _ask(f"{url}/healthz")
    if status != 200 or not isinstance(said, dict) or "alive" not in said:
        return None
    # an empty request: it is refused for its key before anything else is looked at
    return _ask(f"{url}/predict", body=b"{}")[0] != 401


def _ask(url: str, body: bytes | None = None) -> tuple[int | None, Any]:
    """Status and JSON of an answer; None where there is none."""
    if urlsplit(url).scheme not in ("http", "https"):
        return None, None
    # what a proxy answers says nothing about this machine
    handlers = [] if is_public(urlsplit(url).hostname or "") else [urllib.request.ProxyHandler({})]
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=_PROBE_S) as answer:
            return answer.status, json.loads(answer.read(_MOST_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            return error.code, None
    except (OSError, ValueError, http.client.HTTPException):
        return None, None
