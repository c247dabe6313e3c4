"""Every door that is open on this installation, and what closes it: ``flywheel doctor --security``.

Doors of files, of servers that run here, and of settings. What is not looked at is in
``docs/concepts/security.md``: the machine's firewall, TLS in front, and other programs of the same
user.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from flywheel.catalog import base_models
from flywheel.config import Home, UseCase
from flywheel.diagnostics import listeners, server_checks
from flywheel.diagnostics.door import Door
from flywheel.files import permissions
from flywheel.home import backups
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
_CODE = ("flywheel", "tasks", "flows", "usecases", "prefect.yaml", "Makefile")
"""What a command of the project runs or reads, beside the project's folder."""
_GROUP, _GROUP_AND_OTHERS = 0o070, 0o077


def doors(use_case: UseCase, home: Home, environ: Mapping[str, str]) -> list[Door]:
    """Everything that was looked at, the open doors first."""
    found = [
        *_home(home),
        *_umask(home, environ),
        *_secrets(home),
        *_backups(home),
        *_written_by_others(use_case),
        *server_checks.doors(use_case, home, environ),
        *_quota(use_case),
        *_learning(use_case, home),
    ]
    return sorted(found, key=lambda door: door.ok)


def render_text(doors: Sequence[Door]) -> list[str]:
    """Doors for people; what closes one stands on a line of its own, to be copied."""
    shown = []
    for door in doors:
        shown.append(f"{'ok  ' if door.ok else 'OPEN'}  {door.name}: {door.detail}")
        if door.fix:
            shown.append(f"      close it: {door.fix}")
    count = sum(not door.ok for door in doors)
    return [*shown, f"{count} doors are open." if count != 1 else "1 door is open."]


# ---- Files


def _home(home: Home) -> Iterator[Door]:
    if not home.root.is_dir():
        yield Door("home", True, f"there is none at {home.root} yet")
        return
    said = permissions.open_door(home.root)
    group = permissions.umask() & _GROUP and _group_enters(home.root)
    who = ("g" if group else "") + ("" if said is None else "o")
    fix = f"chmod -R {who}= {home.root}"
    if said is not None:
        yield Door("home", False, f"{said.partition('. ')[0]}.", fix)
    elif group:
        detail = (
            f"the group of {home.root} may enter it, and {permissions.VARIABLE} does not say so"
        )
        yield Door("home", False, detail, fix)
    else:
        yield Door("home", True, f"{home.root} is closed to other users of this machine")


def _group_enters(root: Path) -> bool:
    """Whether the group of a folder gets into it."""
    gid, ways = root.stat().st_gid, [folder.stat() for folder in root.absolute().parents]
    return bool(root.stat().st_mode & stat.S_IXGRP) and all(
        way.st_mode & (stat.S_IXGRP if way.st_gid == gid else stat.S_IXOTH) for way in ways
    )


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
    readable = [path for path in every if _is_open(path, permissions.umask() & _GROUP_AND_OTHERS)]
    for path in readable:
        recursive = "-R " if path.is_dir() else ""
        detail = f"{path} holds a copy of the home, and others read it"
        yield Door("backup", False, detail, f"chmod {recursive}go= {path}")
    if not readable:
        yield Door("backups", True, f"{len(every)} are known here, readable by nobody else")


def _is_open(path: Path, rights: int) -> bool:
    """Whether a file or folder gives one of these rights, and others get as far as there."""
    if not path.stat().st_mode & rights:
        return False
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in path.absolute().parents)


def _written_by_others(use_case: UseCase) -> Iterator[Door]:
    """Files outside the home that say what is learned or what is run."""
    project = Path(__file__).parents[2]
    local = [Path(s.location) for s in use_case.sources if "://" not in s.location]
    for path, what in {
        Path("usecases", f"{use_case.name}.yaml"): "says what is learned and who may say so",
        **{path: "is learned from" for path in local},
        **{project / name: "holds the code that runs" for name in _CODE},
    }.items():
        if path.exists() and _is_open(path, stat.S_IWOTH):
            recursive = "-R " if path.is_dir() else ""
            detail = f"{path} {what}, and others may write it"
            yield Door("writable", False, detail, f"chmod {recursive}o-w {path}")


# ---- What is learned, and what answers


def _quota(use_case: UseCase) -> Iterator[Door]:
    serving = use_case.serving
    if serving.texts_per_s == 0:
        detail = (
            "serving.texts_per_s is 0: one key may ask for everything that the model can answer"
        )
        yield Door("quota", False, detail, "delete serving.texts_per_s: 0 (200 texts a second)")
    else:
        each = serving.texts_per_s or "200 with keys"
        yield Door("quota", True, f"texts a second and key: {each}")


def _learning(use_case: UseCase, home: Home) -> Iterator[Door]:
    if use_case.serving.unproven:
        detail = "serving.unproven lets versions answer that no gate has let through"
        yield Door("unproven", False, detail, "serving: {unproven: false}")
    for name in {one.base: None for one in use_case.training.entries() if one.base}:
        if not base_models.is_taken_on_trust(name) or name in use_case.base_sha256:
            continue
        folder = home.models / name
        sha256 = (
            base_models.base_sha256(folder)
            if (folder / base_models.MANIFEST).is_file()
            else "SHA256"
        )
        detail = f"{name} comes from a hub, and is trusted as it came: base_sha256 does not name it"
        yield Door("base", False, detail, base_models.pin_line(name, sha256))
    gate = use_case.gate
    alone = (
        not (gate.dishonest_customers or gate.dishonest_share) or gate.min_evidence_customers < 2
    )
    if gate.evidence_sources and alone:
        detail = "one customer's reactions may promote a version or bring one back"
        fix = "gate: {dishonest_customers: 1, min_evidence_customers: 3}"
        yield Door("influence", False, detail, fix)
    for source in use_case.sources:
        if listeners.in_clear(source.location):
            shown = without_secrets(source.location)
            detail = f"the source {source.name} is read from {shown} without TLS"
            yield Door("source", False, detail, f"sources: {source.name}: location: https://...")
