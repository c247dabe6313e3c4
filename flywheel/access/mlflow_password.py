"""Who may use MLflow's server: whoever holds the password that lies in the home.

It is made once, into a file that its owner alone can read. Commands of flywheel send it to a
server on this machine by themselves; a browser asks for it.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import MutableMapping
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from flywheel.errors import HomeUnusable
from flywheel.files.private_files import make_once

FILE, USER = "mlflow-password", "flywheel"
USER_VARIABLE, PASSWORD_VARIABLE = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
_MIN_CHARS = 16


def password(root: Path) -> str:
    """The password of the home at ``root``, made when there is none.

    Raises:
        HomeUnusable: the file holds none.
    """
    path = root / FILE
    if not path.exists():
        make_once(path, f"{secrets.token_urlsafe(32)}\n".encode())
    found = path.read_text(encoding="utf-8").strip()
    if len(found) < _MIN_CHARS:
        raise HomeUnusable(
            f"{path} holds no password of at least {_MIN_CHARS} characters. MLflow was not "
            "started; remove the file, and make mlflow makes a new one.",
            path=str(path),
        )
    return found


def let_in(root: Path, uri: str, environ: MutableMapping[str, str]) -> None:
    """Let this process's clients send the password, to a server on this machine alone.

    Nothing is set where the user has set a user or a token, or where no password was made.
    """
    asked = USER_VARIABLE in environ or "MLFLOW_TRACKING_TOKEN" in environ
    if asked or not (root / FILE).is_file() or not _is_here(uri):
        return
    environ[USER_VARIABLE], environ[PASSWORD_VARIABLE] = USER, password(root)


def is_let_in(authorization: str, wanted: str) -> bool:
    """Whether a request's header names the user and the password ``wanted``."""
    told = base64.b64encode(f"{USER}:{wanted}".encode()).decode()
    scheme, _, credentials = authorization.partition(" ")
    sent = credentials.strip().encode("utf-8", "surrogateescape")
    return scheme.lower() == "basic" and hmac.compare_digest(sent, told.encode())


def _is_here(uri: str) -> bool:
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return False
    try:
        return ip_address(parts.hostname).is_loopback
    except ValueError:
        return parts.hostname == "localhost"
