"""Who may give orders to Prefect's server: whoever holds the string that lies in the home.

A worker runs whatever a deployment names, so whoever reaches a server without authentication can
run commands as the worker's user; a page in a browser on the same machine reaches it. The string
is made once, and server, worker and command line take it from the environment or from the profile
that `write_profile` leaves in the home. What the user has set himself is left alone.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import stat
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import MutableMapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flywheel.config import Home
from flywheel.errors import HomeUnusable, OrchestratorUnavailable
from flywheel.files import private_files
from flywheel.files.permissions import umask
from flywheel.records.findings import Finding
from flywheel.urls import without_secrets

SERVER, CLIENT = "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"
NO_ORIGIN = "none"
"""What no browser sends: a temporary server has no page of its own."""
DEFAULT_PORT = "4200"
_USER = "flywheel"
_MIN_CHARS = 16
_PROBE_S = 10.0
_PROFILE = "flywheel"


def admit(home: Home) -> None:
    """Let servers that this process starts ask for the home's string, and its clients send it.

    Nothing happens once Prefect is imported, because its settings are read then. A server that
    the user named on another machine is not sent the string.

    Raises:
        HomeUnusable: the string cannot be read, or is none.
    """
    if "prefect" not in sys.modules:
        set_strings(home, os.environ)


def set_strings(home: Home, environ: MutableMapping[str, str]) -> None:
    """Set both variables where the user has not; one that he has set is the other's value, too.

    Raises:
        HomeUnusable: the string cannot be read, or is none.
    """
    string = environ.get(SERVER) or environ.get(CLIENT) or auth_string(home)
    environ.setdefault(SERVER, string)
    if _is_local(api_url(environ)):
        environ.setdefault(CLIENT, string)


def auth_string(home: Home) -> str:
    """The home's ``user:password``, made when there is none; as private as the home.

    Raises:
        HomeUnusable: it cannot be read, or is none.
    """
    path = home.prefect_auth
    try:
        if not path.exists():
            private_files.make_once(path, f"{_USER}:{secrets.token_urlsafe(32)}\n".encode())
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & umask():
            path.chmod(mode & ~umask())
        string = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(path, f"cannot be read ({type(error).__name__})") from error
    user, colon, password = string.partition(":")
    if not (user and colon) or len(password) < _MIN_CHARS or not string.isprintable():
        raise _unusable(path, f"holds no user:password of at least {_MIN_CHARS} characters")
    return string


def _unusable(path: Path, why: str) -> HomeUnusable:
    return HomeUnusable(
        f"{path}, by which Prefect's server knows its clients, {why}. Nothing was started. Remove "
        "it, and restart server and workers (make server, make worker): the next command makes a "
        "new one.",
        path=str(path),
    )


# ---- The user's own commands


def write_profile(home: Home, environ: MutableMapping[str, str]) -> None:
    """Leave a profile for ``prefect`` itself: the server of ``make server``, and its string.

    The profile protects a server that is started by hand as well.
    """
    port = environ.get("PREFECT_SERVER_API_PORT", DEFAULT_PORT)
    origin = f"http://127.0.0.1:{port}"
    values = {
        "PREFECT_HOME": str(home.prefect),
        "PREFECT_API_URL": f"{origin}/api",
        CLIENT: environ[SERVER],
        SERVER: environ[SERVER],
        "PREFECT_SERVER_API_PORT": port,
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": origin,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_API_URL": "/api",
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(home.prefect / "ui"),
    }
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    page = "\n".join([f'active = "{_PROFILE}"', "", f"[profiles.{_PROFILE}]", *lines, ""])
    private_files.replace(home.prefect_profile, page.encode())


# ---- A server that is there


def api_url(environ: MutableMapping[str, str]) -> str | None:
    """The server that Prefect's clients will ask; None where they start a temporary one."""
    given = environ.get("PREFECT_API_URL")
    if given:
        return given
    folder = environ.get("PREFECT_HOME", "")
    path = Path(environ.get("PREFECT_PROFILES_PATH") or Path(folder, "profiles.toml"))
    return _url_of_profile(path, environ.get("PREFECT_PROFILE"))


def _url_of_profile(path: Path, name: str | None = None) -> str | None:
    """The server that a profile names, by default the active one; None where there is none."""
    try:
        known: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    profile = known.get("profiles", {}).get(name or known.get("active"), {})
    url = profile.get("PREFECT_API_URL")
    return None if url is None else str(url)


def server_url(home: Home, environ: MutableMapping[str, str]) -> str:
    """The server that is set, else that of the last ``make deploy``, else the usual one."""
    usual = f"http://127.0.0.1:{environ.get('PREFECT_SERVER_API_PORT', DEFAULT_PORT)}/api"
    return api_url(environ) or _url_of_profile(home.prefect_profile) or usual


def finding(home: Home, environ: MutableMapping[str, str]) -> list[Finding]:
    """What to say of the server that is reachable; nothing where there is none."""
    url = server_url(home, environ)
    shown = without_secrets(url)
    try:
        open_to_all = answers_anybody(url)
    except OrchestratorUnavailable as silent:
        return [Finding("Prefect's server", False, str(silent))]
    if open_to_all is None:
        return []
    detail = (
        f"the server at {shown} takes orders from everybody who reaches it, also from a page in a "
        "browser, and its workers run commands: stop it, and start it with make server"
        if open_to_all
        else f"the server at {shown} asks for credentials"
    )
    return [Finding("Prefect's server", not open_to_all, detail)]


def answers_anybody(url: str) -> bool | None:
    """Whether Prefect's API answers without credentials; None where no Prefect answers.

    Raises:
        OrchestratorUnavailable: something took the request and did not answer in time.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        return None
    # what a proxy answers says nothing about this machine
    handlers = [urllib.request.ProxyHandler({})] if _is_local(url) else []
    opener = urllib.request.build_opener(*handlers)
    try:
        with opener.open(f"{url}/admin/version", timeout=_PROBE_S) as answer:
            version = json.loads(answer.read(1_000))
    except urllib.error.HTTPError as error:
        with error:
            return False if error.code in (401, 403) else None
    except TimeoutError as error:
        raise OrchestratorUnavailable(
            f"what listens at {without_secrets(url)} took a request and gave no answer within "
            f"{_PROBE_S:g} s, so that nobody knows whether it asks for credentials: look again"
        ) from error
    except (OSError, ValueError, http.client.HTTPException):
        return None
    return True if isinstance(version, str) else None


def _is_local(url: str | None) -> bool:
    if url is None:
        return True
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
