"""A file in the folder where flywheel is called is never run in place of Python's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flywheel import subprocesses

HOSTILE = "raise SystemExit('the working folder was asked')"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("json", "base64", "flywheel"):
        (tmp_path / f"{name}.py").write_text(HOSTILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    return tmp_path


def test_a_child_imports_nothing_from_the_working_folder(folder: Path) -> None:
    with subprocesses.start("base64", "-h") as child:
        child.communicate()
    assert child.returncode == 0


def test_a_child_finds_flywheel_where_it_is_not_installed(folder: Path) -> None:
    own = subprocesses.environment({"PATH": os.environ["PATH"]})
    said = subprocess.run(
        [sys.executable, "-S", "-c", "import flywheel; print(flywheel.__file__)"],
        env=own,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(said.stdout.strip()) == Path(subprocesses.__file__).with_name("__init__.py")


def test_a_server_that_prefect_starts_imports_nothing_from_there(folder: Path) -> None:
    own = {"PATH": os.environ["PATH"]}
    with subprocesses.kept_apart(own):
        begun = subprocess.run([sys.executable, "-m", "base64", "-h"], env=own, capture_output=True)
    assert begun.returncode == 0
    assert "PYTHONSAFEPATH" not in own
    own["PYTHONSAFEPATH"] = ""
    with subprocesses.kept_apart(own):
        assert own["PYTHONSAFEPATH"] == "1"
    assert own["PYTHONSAFEPATH"] == ""
