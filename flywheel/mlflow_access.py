"""Who may use MLflow's server: whoever holds the password that lies in the home.

It is made once, into a file that its owner alone can read. Commands of flywheel send it to a
server on this machine by themselves; a browser asks for it.
"""

from __future__ import annotations

import base64
import hmac
import os
import secrets
from collections.abc import MutableMapping
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from flywheel.errors import HomeUnusable
from flywheel.permissions import file_mode

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
        _make(path)
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


def _make(path: Path) -> None:
    """Write a new one, whole or not at all; of two processes one makes it for both."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{FILE}-{secrets.token_hex(4)}")
    fd = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, file_mode())
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(f"{secrets.token_urlsafe(32)}\n")
    try:
        os.link(partial, path)
    except FileExistsError:
        # another process was faster; its password is the home's
        pass
    finally:
        partial.unlink()


def _is_here(uri: str) -> bool:
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return False
    try:
        return ip_address(parts.hostname).is_loopback
    except ValueError:
        return parts.hostname == "localhost"
