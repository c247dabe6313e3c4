"""Make the home ready for a server that opens its registry past flywheel: ``make mlflow``.

    python -m flows.servers.relocate

A home that was moved or copied gets the paths of where it is now.
"""

from __future__ import annotations

from flywheel.config import Home
from flywheel.home.environment import open_home, prepare

if __name__ == "__main__":
    prepare(Home())
    open_home(Home())
