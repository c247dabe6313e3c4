"""Homes with versions to promote, made once and copied: what `settle` and its kin are tested on."""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from mlflow import MlflowClient

from flywheel.config import Home
from flywheel.records import Promotion
from flywheel.tracking.registry import CHAMPION, Registry
from flywheel.tracking.versions import Version
from tasks.champion.move import champions
from tasks.promote import move_champion
from tests import nights
from tests.nights import AS_OF, CASE, DAY

MEASURED = ("1", "2", "3")
STRANGER = "4"
"""A version that somebody registered past flywheel: it has no digest."""


@functools.cache
def template() -> Home:
    """Version 1 is champion, 2 and 3 were found better than it, 4 is a stranger."""
    folder = Path(tempfile.mkdtemp(prefix="flywheel-champions-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return build(folder / "home")


def build(root: Path) -> Home:
    """The home of `template`, at ``root``."""
    home = nights.make_home(root)
    with nights.living_in(home):
        for number in MEASURED:
            adapter = home.adapters / number
            digest = nights.make_adapter(home, adapter, seed=int(number))
            before = "none" if number == "1" else "1"
            version = nights.register(home, adapter, digest, champion_before=before)
            assert version.version == number
        client = Registry(home).client
        source = client.get_model_version(CASE.name, "1").source
        client.create_model_version(CASE.name, source)
        promote(home, "1", against=None, day=0)
    return home


def copy(root: Path, *, source: Home | None = None) -> Home:
    """A home of its own at ``root``: the registry's paths lead there, too."""
    made = source or template()
    shutil.copytree(made.root, root)
    rewrite_paths(root / "mlflow.db", str(made.root), str(root))
    return Home(root)


def rewrite_paths(database: Path, old: str, new: str) -> None:
    """Let every text in a registry's database name another folder."""
    with closing(sqlite3.connect(database)) as con:
        tables = [t for (t,) in con.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            columns = [row[1] for row in con.execute(f'PRAGMA table_info("{table}")')]
            for column in columns:
                con.execute(
                    f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?) '
                    f'WHERE typeof("{column}") = ? AND instr("{column}", ?)',
                    (old, new, "text", old),
                )
        con.commit()


def version(home: Home, number: str) -> Version:
    return Registry(home).by_version(CASE.name, number)


def promote(home: Home, number: str, *, against: str | None, day: int) -> None:
    """What the night of ``day`` does with a challenger that won."""
    move_champion.fn(
        home,
        version(home, number),
        use_case=CASE,
        at=AS_OF + day * DAY,
        against=None if against is None else version(home, against),
    )


def by_hand(home: Home, number: str | None) -> None:
    """What a person does in MLflow: move the champion alias, or delete it."""
    client = MlflowClient(home.mlflow_uri)
    if number is None:
        client.delete_registered_model_alias(CASE.name, CHAMPION)
    else:
        client.set_registered_model_alias(CASE.name, CHAMPION, number)


def tag(home: Home, number: str, **tags: str) -> None:
    """What a person does in MLflow: set tags of a version."""
    client = MlflowClient(home.mlflow_uri)
    for key, value in tags.items():
        client.set_model_version_tag(CASE.name, number, key, value)


def tags(home: Home, number: str) -> dict[str, str]:
    return dict(MlflowClient(home.mlflow_uri).get_model_version(CASE.name, number).tags)


def tamper(home: Home, number: str) -> None:
    """Change one weight of a registered adapter by a little."""
    weights = version(home, number).adapter_dir / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-2] ^= 1
    weights.write_bytes(bytes(content))


def champion(home: Home) -> str | None:
    """Whom the alias names, asked of MLflow."""
    aliases = MlflowClient(home.mlflow_uri).get_registered_model(CASE.name).aliases
    return str(aliases[CHAMPION]) if CHAMPION in aliases else None


def log(home: Home) -> list[Promotion]:
    return champions(home, CASE.name)


def story(home: Home) -> list[tuple[str, str, str | None]]:
    """Action, version and predecessor of every change on record."""
    return [(step.action, step.version, step.before) for step in log(home)]


def as_json(step: Promotion) -> str:
    """A step as the tag of a version that is on its way."""
    return json.dumps({**vars(step), "at": step.at.isoformat()})
