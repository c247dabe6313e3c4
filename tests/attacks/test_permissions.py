"""Another user of the machine reads nothing of a home, and an old home is closed when opened."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from flywheel.config import Home, UseCase
from flywheel.diagnostics import machine_checks
from flywheel.errors import ConfigError
from flywheel.files import permissions
from flywheel.home.environment import open_home, prepare
from flywheel.ingestion.journal import FEEDBACK, Segment
from flywheel.store import open_store


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The umask of this process afterwards; a lax one before, as most machines have."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    os.environ.pop(permissions.VARIABLE, None)
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_a_process_makes_in_its_home_is_its_owners_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    prepare(home)
    open_home(home)
    with open_store(home.warehouse):
        pass
    Segment.create(home.inbox("support"), FEEDBACK)
    (home.root / "page.html").write_text("what customers wrote")
    assert mode(home.root) == 0o700
    assert [path for path in home.root.rglob("*") if mode(path) & 0o077] == []
    assert len(list(home.root.rglob("*"))) >= 5


ROOT = Path(__file__).resolve().parents[2]
DEPLOYED = re.findall(r"entrypoint: flows\.(\w+)\.", (ROOT / "prefect.yaml").read_text())
PROCESSES = sorted(
    path
    for path in (ROOT / "flows").rglob("*.py")
    if path.stem == "main"
    or ("Home()" in path.read_text() and ("__main__" in path.read_text() or path.stem in DEPLOYED))
)


@pytest.mark.parametrize("path", PROCESSES, ids=lambda path: path.stem)
def test_every_process_that_works_in_a_home_keeps_it_private(path: Path) -> None:
    assert {*DEPLOYED, "main", "mlflow_server", "prefect_server"} <= {one.stem for one in PROCESSES}
    assert re.search(r"\b(prepare|keep_private)\(", path.read_text())


@pytest.mark.parametrize(("made", "closed"), [(0o755, 0o700), (0o775, 0o700), (0o2775, 0o2770)])
def test_a_home_made_before_is_closed_when_it_is_opened(
    tmp_path: Path, made: int, closed: int
) -> None:
    home = Home(tmp_path)
    home.inbox("support").mkdir(parents=True)
    home.root.chmod(made)
    open_home(home)
    assert mode(home.root) == closed


def test_a_folder_that_is_no_home_is_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    open_home(Home(tmp_path))
    (tmp_path / "inbox").mkdir()
    tmp_path.chmod(0o1777)
    open_home(Home(tmp_path))
    assert mode(tmp_path) == 0o1777


def test_a_group_may_share_a_home_and_others_never(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    os.environ[permissions.VARIABLE] = "007"
    prepare(home)
    open_home(home)
    (home.root / "page.html").touch()
    assert (mode(home.root), mode(home.root / "page.html")) == (0o770, 0o660)
    for given in ("022", "000", "7", "777", "no"):
        os.environ[permissions.VARIABLE] = given
        with pytest.raises(ConfigError, match="077"):
            prepare(home)


def test_the_doctor_names_an_open_home_and_the_command_that_closes_it(
    tmp_path: Path, use_case: UseCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    home.warehouse.touch()
    home.warehouse.chmod(0o644)
    # pytest closes the folder above
    monkeypatch.setattr(type(home.root), "parents", ())
    for made, told in ((0o755, 1), (0o700, 0)):
        home.root.chmod(made)
        found = machine_checks.privacy(home)
        assert len(found) == told
        assert all("warehouse.duckdb" in one.detail for one in found)
        assert all(f"chmod -R o= {home.root}" in one.detail for one in found)
