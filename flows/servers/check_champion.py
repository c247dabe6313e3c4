"""``python -m flows.servers.check_champion USE_CASE``: what `make mlflow-serve` asks before it
serves.

MLflow runs the code that lies beside a model in the registry. So a copy is made that nobody else
may write to, the copy is seen to be what was registered, and its folder is printed: what is served
cannot be changed between the look and the start. The copy then gets the code of this release, which
finds its modules where they are now. Whoever starts the server deletes the copy afterwards.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from flows.cli.output import echo
from flywheel.config import Home
from flywheel.errors import DataError, FlywheelError
from flywheel.files.permissions import keep_private

CODE_FILES = ("pyfunc_model.py", "served_model.py")
"""The model's code in a registered folder, by its name now and its name before version 0.2.0."""


def main(use_case: str) -> Path:
    """Copy the champion's folder, and check the copy.

    Raises:
        DataError: there is no champion.
        DigestMismatch: its files are not those that were registered; the copy is gone.
    """
    from flywheel.tracking import pyfunc_model
    from flywheel.tracking.registry import CHAMPION, Registry
    from tasks.champion.trusted_versions import require_trusted_copy

    keep_private()
    home = Home()
    champion = Registry(home).by_alias(use_case, CHAMPION)
    if champion is None:
        raise DataError(f"{use_case} has no champion, and nothing is served: flywheel night first")
    home.serving.mkdir(parents=True, exist_ok=True)
    copy = Path(tempfile.mkdtemp(prefix="mlflow-serve-", dir=home.serving))
    checked = False
    try:
        # Python would run caches instead of the code, and no hash watches them
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(champion.folder, copy, ignore=ignore, dirs_exist_ok=True)
        # the copy has the folder's own mode
        copy.chmod(0o700)
        back = f"Nothing is served. To go back: flywheel rollback -u {use_case} --yes"
        require_trusted_copy(home, champion, copy, so=back)
        for name in CODE_FILES:
            if (copy / name).exists():
                shutil.copyfile(pyfunc_model.__file__, copy / name)
        checked = True
    finally:
        if not checked:
            shutil.rmtree(copy)
    return copy


if __name__ == "__main__":
    try:
        echo(str(main(sys.argv[1])))
    except FlywheelError as error:
        sys.exit(str(error))
