"""The processes of an installation: what ``make up`` starts, in order, and where each answers.

All listen on this machine only, and have the home's secrets from their environment.
"""

from __future__ import annotations

import base64
import os
import secrets
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from flywheel import subprocesses
from flywheel.config import Home
from flywheel.diagnostics.listeners import PORTS
from flywheel.files import private_files

_AS_OURS = ("-m", "flows.servers.prefect_server")
_PREFECT = str(Path(sys.executable).with_name("prefect"))
_PROBE_S = 2.0


@dataclass(frozen=True)
class Process:
    """A program that runs until it is stopped. ``url`` None: it listens on no port."""

    name: str
    command: tuple[str, ...]
    url: str | None = None
    environ: Mapping[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """What it is told, over what this process was told."""
        return {**subprocesses.environment(os.environ), **self.environ}


def servers(home: Home, environ: Mapping[str, str]) -> list[Process]:
    """What must answer before anything else is started."""
    prefect, mlflow = _port(environ, "PREFECT_SERVER_API_PORT"), _port(environ, "MLFLOW_PORT")
    start = (_PREFECT, "server", "start", "--host", "127.0.0.1", "--port", prefect)
    found = [Process("prefect", (*_AS_OURS, *start), f"http://127.0.0.1:{prefect}/api/health")]
    # a registry elsewhere has a server of its own
    if urlsplit(home.mlflow_uri).scheme not in ("http", "https"):
        found.append(_mlflow(home, environ, mlflow))
    return found


def set_up(environ: Mapping[str, str]) -> Process:
    """What is done once: work pools, deployments, watchdog."""
    return Process(
        "setup", (*_AS_OURS, sys.executable, "-m", "flows.servers.deploy"), environ=_at(environ)
    )


def workers(environ: Mapping[str, str], *, use_case: str) -> list[Process]:
    """What is started last. The worker of the pool ``gpu`` uses a GPU where there is one."""
    quick = {"PREFECT_WORKER_QUERY_SECONDS": "2", **_at(environ)}
    port = _port(environ, "SERVE_PORT")
    pools = [
        Process(
            f"worker-{pool}",
            (
                *(*_AS_OURS, _PREFECT, "worker", "start", "--pool", pool, "--name", f"{pool}-1"),
                # two trainings that each fit into a GPU do not fit together
                *(("--limit", "1") if pool == "gpu" else ()),
            ),
            environ=quick,
        )
        for pool in ("cpu", "gpu")
    ]
    serve = ("-m", "flows", "serve", "-u", use_case, "--port", port)
    return [*pools, Process("service", serve, f"http://127.0.0.1:{port}/healthz")]


def answers(url: str) -> bool:
    """Whether a server answers at all; one that asks who is there does."""
    # what a proxy answers says nothing about this machine
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_PROBE_S):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return error.code < 500
    except OSError:
        return False


def _at(environ: Mapping[str, str]) -> dict[str, str]:
    """Where workers find the installation's own Prefect server."""
    return {"PREFECT_API_URL": f"http://127.0.0.1:{_port(environ, 'PREFECT_SERVER_API_PORT')}/api"}


def _port(environ: Mapping[str, str], variable: str) -> str:
    return environ.get(variable) or str(PORTS[variable][1])


def _mlflow(home: Home, environ: Mapping[str, str], port: str) -> Process:
    key = home.root / "mlflow-webhooks.key"
    if not key.is_file():
        private_files.make_once(key, base64.urlsafe_b64encode(secrets.token_bytes(32)) + b"\n")
    hook = f"http://127.0.0.1:{_port(environ, 'SERVE_PORT')}/hooks/mlflow"
    command = (
        *("-m", "flows.servers.mlflow_server", "--backend-store-uri", home.mlflow_uri),
        *("--artifacts-destination", str(home.mlflow_artifacts)),
        *("--host", "127.0.0.1", "--port", port, "--workers", "1"),
    )
    told = {
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": key.read_text(encoding="ascii").strip(),
        "FLYWHEEL_MLFLOW_WEBHOOK_URLS": environ.get("WEBHOOK_URLS") or hook,
    }
    return Process("mlflow", command, f"http://127.0.0.1:{port}/health", told)
