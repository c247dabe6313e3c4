"""``python -m flows.servers.mlflow_server``: ``mlflow server`` behind the home's password.

It takes what ``mlflow server`` takes, but is always served by uvicorn.
"""

from __future__ import annotations

import os
import sys

from flows.cli.output import echo
from flywheel.access.mlflow_app import PASSWORD, run
from flywheel.access.mlflow_password import FILE, USER, password
from flywheel.config import Home
from flywheel.files.permissions import keep_private

if __name__ == "__main__":
    keep_private()
    home = Home()
    os.environ[PASSWORD] = password(home.root)
    echo(f"user {USER}, password in {home.root / FILE}", err=True)
    run(sys.argv[1:])
