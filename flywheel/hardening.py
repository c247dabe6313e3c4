"""Every door that is open on this installation, and what closes it: ``flywheel doctor --security``.

Doors of files, of servers that run here, and of settings. What is not looked at is in
``docs/security.md``: the machine's firewall, TLS in front, and other programs of the same user.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flywheel import backups, bases, permissions, prefect_access, reachable
from flywheel.config import Home, UseCase
from flywheel.mlflow_guard import URLS
from flywheel.relocation import local_registry
from flywheel.service.keys import VARIABLE as KEYS
from flywheel.urls import without_secrets

SECRETS = (
    "prefect/auth",
    "prefect/server-profile.toml",
    "mlflow-password",
    "mlflow-webhooks.key",
    "serving/key",
    "forget/key",
)
"""What the home's servers and services know each other by, relative to it."""
_GROUP_AND_OTHERS = 0o077


@dataclass(frozen=True)
class Door:
    """Something that was looked at. ``fix`` is the command or setting that closes it, if open."""

    name: str
    ok: bool
    detail: str
    fix: str = ""


def doors(use_case: UseCase, home: Home, environ: Mapping[str, str]) -> list[Door]:
    """Everything that was looked at, the open doors first."""
    found = [
        *_home(home),
        *_umask(home, environ),
        *_secrets(home),
        *_backups(home),
        *_use_case(use_case),
        *_prefect(home, environ),
        *_mlflow(home, environ),
        *_webhooks(home, environ),
        *_service(use_case, environ),
        *_listeners(environ),
        *_learning(use_case, home),
    ]
    return sorted(found, key=lambda door: door.ok)


def findings(use_case: UseCase, home: Home, environ: Mapping[str, str]) -> list[dict[str, Any]]:
    """The same as the doctor prints and counts its findings."""
    return [asdict(door) for door in doors(use_case, home, environ)]


def lines(found: list[dict[str, Any]]) -> list[str]:
    """Findings for people; what closes a door stands on a line of its own, to be copied."""
    shown = []
    for one in found:
        shown.append(f"{'ok  ' if one['ok'] else 'OPEN'}  {one['name']}: {one['detail']}")
        if one["fix"]:
            shown.append(f"      close it: {one['fix']}")
    count = sum(not one["ok"] for one in found)
    return [*shown, f"{count} doors are open." if count != 1 else "1 door is open."]


# ---- Files


def _home(home: Home) -> Iterator[Door]:
    said = permissions.open_door(home.root) if home.root.is_dir() else None
    if said is None:
        yield Door("home", True, f"{home.root} is closed to other users of this machine")
    else:
        what = said.partition(". ")[0]
        yield Door("home", False, f"{what}.", f"chmod -R o= {home.root}")


def _umask(home: Home, environ: Mapping[str, str]) -> Iterator[Door]:
    given = environ.get(permissions.VARIABLE, "")
    weaker = bool(given) and int(given, 8) & _GROUP_AND_OTHERS != _GROUP_AND_OTHERS
    if weaker:
        yield Door(
            "umask",
            False,
            f"{permissions.VARIABLE} is {given}: the home's group reads its texts and secrets",
            f"unset {permissions.VARIABLE}; chmod -R g= {home.root}",
        )
    else:
        yield Door("umask", True, "what is made in the home is its owner's alone")


def _secrets(home: Home) -> Iterator[Door]:
    wanted = permissions.umask()
    found = False
    for name in SECRETS:
        path = home.root / name
        if not path.is_file():
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & wanted:
            found = True
            yield Door(
                "secret",
                False,
                f"{path} has the mode {mode:03o}: others read it",
                f"chmod 600 {path}",
            )
        if path.stat().st_uid != os.geteuid():
            found = True
            yield Door("secret", False, f"{path} is another user's", f"chown $(id -u) {path}")
    if not found:
        yield Door("secrets", True, "the home's secrets are readable by its owner alone")


def _backups(home: Home) -> Iterator[Door]:
    every = [*backups.written(home), *backups.put_aside(home)]
    readable = [path for path in every if _is_open(path)]
    for path in readable:
        recursive = "-R " if path.is_dir() else ""
        detail = f"{path} holds a copy of the home, and others read it"
        yield Door("backup", False, detail, f"chmod {recursive}go= {path}")
    if not readable:
        yield Door("backups", True, f"{len(every)} are known here, readable by nobody else")


def _is_open(path: Path) -> bool:
    """Whether others may read a file or enter a folder, folders above it included."""
    if not path.stat().st_mode & (permissions.umask() & _GROUP_AND_OTHERS):
        return False
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in path.absolute().parents)


def _use_case(use_case: UseCase) -> Iterator[Door]:
    path = Path("usecases", f"{use_case.name}.yaml")
    if path.is_file() and path.stat().st_mode & stat.S_IWOTH:
        detail = f"{path} says what is learned and who may say so, and others may write it"
        yield Door("use case", False, detail, f"chmod o-w {path}")


# ---- Servers


def _prefect(home: Home, environ: Mapping[str, str]) -> Iterator[Door]:
    url = prefect_access.api_url(dict(environ)) or ""
    found = prefect_access.finding(home, dict(environ))
    for one in found:
        yield Door("Prefect", one["ok"], one["detail"], "" if one["ok"] else "make server")
    if not found:
        yield Door("Prefect", True, "no server answers here")
    if reachable.in_clear(url):
        detail = f"{without_secrets(url)} is asked without TLS, and the string is sent to it"
        yield Door("Prefect", False, detail, "PREFECT_API_URL=https://...")
    if "*" in environ.get("PREFECT_SERVER_CORS_ALLOWED_ORIGINS", "").split(","):
        detail = "PREFECT_SERVER_CORS_ALLOWED_ORIGINS lets every page read the server's answers"
        yield Door("Prefect", False, detail, "unset PREFECT_SERVER_CORS_ALLOWED_ORIGINS")


def _mlflow(home: Home, environ: Mapping[str, str]) -> Iterator[Door]:
    uri = home.mlflow_uri
    usual = f"http://127.0.0.1:{reachable.ports(environ)[reachable.MLFLOW]}"
    url = uri if urlsplit(uri).scheme in ("http", "https") else usual
    shown = without_secrets(url)
    answers = reachable.mlflow_answers_anybody(url)
    if answers:
        detail = f"the server at {shown} asks nobody for a password: who reaches it moves aliases"
        yield Door("MLflow", False, detail, "make mlflow")
    else:
        said = "no server answers" if answers is None else "the server asks for a password"
        yield Door("MLflow", True, f"{said} at {shown}")
    if reachable.in_clear(url):
        detail = f"{shown} is asked without TLS, and texts and passwords are sent to it"
        yield Door("MLflow", False, detail, "MLFLOW_TRACKING_URI=https://...")
    if without_secrets(uri) != uri:
        detail = "MLFLOW_TRACKING_URI holds a password, which every child process is told"
        fix = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead"
        yield Door("MLflow", False, detail, fix)


def _webhooks(home: Home, environ: Mapping[str, str]) -> Iterator[Door]:
    given = environ.get("WEBHOOK_URLS") or environ.get(URLS, "")
    named = {url for url in given.split(",") if url}
    registered = _registered(home)
    for url in sorted(named | registered):
        where = "WEBHOOK_URLS lets webhooks call" if url in named else "a webhook in MLflow calls"
        shown = without_secrets(url)
        if reachable.in_clear(url):
            detail = f"{where} {shown}, on another machine and without TLS"
            yield Door("webhook", False, detail, _without(url, named))
        elif reachable.is_public(urlsplit(url).hostname or "localhost"):
            detail = f"{where} {shown}, on another machine"
            yield Door("webhook", False, detail, _without(url, named))
    if not named | registered:
        yield Door("webhooks", True, "none calls another machine")


def _without(url: str, named: set[str]) -> str:
    if url not in named:
        return "delete it on MLflow's page, Settings, Webhooks"
    here = [one for one in sorted(named) if not reachable.is_public(urlsplit(one).hostname or "")]
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
    port = reachable.ports(environ)[reachable.SERVICE]
    answers = reachable.service_answers_anybody(f"http://127.0.0.1:{port}")
    if answers is None:
        yield Door("service", True, f"none answers on port {port}")
    elif answers and port in reachable.listening_to_all({port}):
        detail = f"the service on port {port} listens beyond this machine, and asks for no key"
        yield Door("service", False, detail, f"{KEYS}=KEY flywheel serve -u {use_case.name}")
    elif answers:
        yield Door("service", True, "it serves programs on this machine, which need no key")
    else:
        yield Door("service", True, "it asks for a key")
    serving = use_case.serving
    if serving.texts_per_s == 0:
        detail = (
            "serving.texts_per_s is 0: one key may ask for everything that the model can answer"
        )
        yield Door("quota", False, detail, "delete serving.texts_per_s: 0 (200 texts a second)")
    else:
        each = serving.texts_per_s or "200 with keys"
        yield Door("quota", True, f"texts a second and key: {each}")


def _listeners(environ: Mapping[str, str]) -> Iterator[Door]:
    """Whatever of ours others can connect to; the service is for them, where it asks for keys."""
    ports = reachable.ports(environ)
    found = reachable.listening_to_all(ports.values())
    for name, port in ports.items():
        if port in found and name != reachable.SERVICE:
            detail = f"{name} listens on {found[port]} port {port}: other machines reach it"
            yield Door("reachable", False, detail, f"{_MADE_BY[name]} (it listens on 127.0.0.1)")


_MADE_BY = {
    reachable.PREFECT: "make server",
    reachable.MLFLOW: "make mlflow",
    reachable.MODEL_SERVER: "make mlflow-serve",
}

# ---- What is learned, and what answers


def _learning(use_case: UseCase, home: Home) -> Iterator[Door]:
    if use_case.serving.unproven:
        detail = "serving.unproven lets versions answer that no gate has let through"
        yield Door("unproven", False, detail, "serving: {unproven: false}")
    for name in {one.base: None for one in use_case.training.entries() if one.base}:
        if not bases.is_taken_on_trust(name) or name in use_case.base_sha256:
            continue
        folder = home.models / name
        sha256 = bases.base_sha256(folder) if (folder / bases.MANIFEST).is_file() else "SHA256"
        detail = f"{name} comes from a hub, and is trusted as it came: base_sha256 does not name it"
        yield Door("base", False, detail, bases.pin_line(name, sha256))
    gate = use_case.gate
    alone = (
        not (gate.dishonest_customers or gate.dishonest_share) or gate.min_evidence_customers < 2
    )
    if gate.evidence_sources and alone:
        detail = "one customer's reactions may promote a version or bring one back"
        fix = "gate: {dishonest_customers: 1, min_evidence_customers: 3}"
        yield Door("influence", False, detail, fix)
    for source in use_case.sources:
        if reachable.in_clear(source.location):
            shown = without_secrets(source.location)
            detail = f"the source {source.name} is read from {shown} without TLS"
            yield Door("source", False, detail, f"sources: {source.name}: location: https://...")
