"""What listens here, for whom, and whether it asks who is there: Prefect, MLflow and the service.

Only looks: it asks each server what anybody may ask, and sends no secret.
"""

from __future__ import annotations

import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

_PROBE_S = 10.0
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


_STARTED = {
    MODEL_SERVER: re.compile(r"mlflow\.pyfunc\.scoring_server|mlflow models serve"),
    PREFECT: re.compile(r"prefect server start|prefect\.server\.api\.server:"),
    MLFLOW: re.compile(r"mlflow_guard:|mlflow\.server|mlflow (server|ui)\b"),
    SERVICE: re.compile(r"(flywheel|flows) serve\b"),
}
"""What a server's process was started as."""


class Silent(Exception):
    """Something took a request and did not answer in time, so that nothing is known of it."""


@dataclass(frozen=True)
class Listener:
    """A server that runs here: what it is, and the address and port that it listens on."""

    name: str
    address: str
    port: int

    @property
    def url(self) -> str:
        """Where to ask it from this machine."""
        host = self.address.partition("%")[0]
        if ip_address(host).is_unspecified:
            host = "127.0.0.1"
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def of_home(root: Path) -> list[Listener]:
    """The servers of this user whose process was told of the home at ``root``, on any port."""
    try:
        found = psutil.net_connections(kind="tcp")
    except psutil.Error:
        return []
    listening = [
        (one.pid, one.laddr)
        for one in found
        if one.status == psutil.CONN_LISTEN and one.laddr and one.pid
    ]
    started = {pid: _started(pid, root) for pid, _ in listening}
    return [
        Listener(name, at.ip, at.port)
        for pid, at in listening
        if (name := started[pid]) is not None
    ]


def _started(pid: int, root: Path) -> str | None:
    """What a process is, where it is a server and was told of a folder."""
    try:
        process = psutil.Process(pid)
        command = " ".join(process.cmdline())
        name = next((n for n, pattern in _STARTED.items() if pattern.search(command)), None)
        if name is None:
            return None
        told = [f"{said}/" for said in (*process.cmdline(), *process.environ().values())]
        by_default = Path(process.cwd(), "data") == root.absolute()
    except psutil.Error:
        # it ended meanwhile, or is another user's
        return None
    return name if by_default or any(f"{root.absolute()}/" in said for said in told) else None


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
    """Whether MLflow lists its experiments to whoever asks; None where no MLflow answers.

    Raises:
        Silent: something is there, and did not answer in time.
    """
    status, said = _ask(f"{url.rstrip('/')}/api/2.0/mlflow/experiments/search?max_results=1")
    if status in (401, 403):
        return False
    return True if status == 200 and isinstance(said, dict) and set(said) <= _SEARCHED else None


_SEARCHED = {"experiments", "next_page_token"}


def service_answers_anybody(url: str) -> bool | None:
    """Whether the service takes a text without a key; None where no service of ours answers.

    Raises:
        Silent: something is there, and did not answer in time.
    """
    status, said = _ask(f"{url}/healthz")
    if status != 200 or not isinstance(said, dict) or "alive" not in said:
        return None
    # an empty request: it is refused for its key before anything else is looked at
    return _ask(f"{url}/predict", body=b"{}")[0] != 401


def model_server_answers_anybody(url: str) -> bool | None:
    """Whether ``mlflow models serve`` answers by any name; None where there is none.

    Raises:
        Silent: something is there, and did not answer in time.
    """
    called = {"Host": "rebound.invalid"}
    if _ask(f"{url}/ping", headers=called)[0] != 200:
        return None
    # only what takes texts to answer says that they are sent by POST
    return _ask(f"{url}/invocations", headers=called)[0] == 405 or None


def _ask(
    url: str, body: bytes | None = None, *, headers: Mapping[str, str] | None = None
) -> tuple[int | None, Any]:
    """Status and JSON of an answer; None where there is none."""
    if urlsplit(url).scheme not in ("http", "https"):
        return None, None
    # what a proxy answers says nothing about this machine
    handlers = [] if is_public(urlsplit(url).hostname or "") else [urllib.request.ProxyHandler({})]
    sent = {"Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, body, sent)
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=_PROBE_S) as answer:
            return answer.status, _json(answer.read(_MOST_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            return error.code, None
    except TimeoutError as error:
        raise Silent(
            f"what listens at {urlsplit(url).netloc.rpartition('@')[2]} took a request and gave no "
            f"answer within {_PROBE_S:g} s, so that nobody knows whether it lets anybody in"
        ) from error
    except (OSError, ValueError, http.client.HTTPException):
        return None, None


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None
