"""``python -m flows.check_champion USE_CASE``: what `make mlflow-serve` asks before it serves.

MLflow runs the code that lies beside a model in the registry; here it is seen to be what was
registered.
"""

from __future__ import annotations

import shutil
import sys

from flywheel.config import Home
from flywheel.errors import FlywheelError
from flywheel.permissions import keep_private


def main(use_case: str) -> None:
    from flywheel.registry import CHAMPION, Registry
    from tasks.trust import require_trusted

    keep_private()
    home = Home()
    champion = Registry(home).by_alias(use_case, CHAMPION)
    if champion is not None:
        back = f"Nothing is served. To go back: flywheel rollback -u {use_case} --yes"
        require_trusted(home, champion, so=back)
        # Python would run these instead of the code, and no hash watches them
        for cache in champion.folder.rglob("__pycache__"):
            shutil.rmtree(cache)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except FlywheelError as error:
        sys.exit(str(error))
