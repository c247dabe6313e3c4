"""Run a command of Prefect's as this home's: ``make server``, ``make deploy``, ``make worker``.

    python -m flows.servers.prefect_server prefect server start

The command gets the string that server and clients share, made when there is none, in its
environment; arguments can be read by everybody on the machine. ``prefect`` alone, typed in the
project's folder, finds the same in the profile that is left in the home.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping

from flows.cli.main import main
from flywheel.access.prefect_password import DEFAULT_PORT, set_strings, write_profile
from flywheel.config import Home
from flywheel.errors import ConfigError
from flywheel.home.environment import open_home, prepare


def protect(home: Home, environ: MutableMapping[str, str]) -> None:
    """Set what a server needs that stays: its own origin, tokens against forged requests.

    It stands in the profile as well; a variable that the user has set wins over both.

    Raises:
        HomeUnusable: the string cannot be read, or is none.
    """
    port = environ.setdefault("PREFECT_SERVER_API_PORT", DEFAULT_PORT)
    environ.setdefault("PREFECT_SERVER_CORS_ALLOWED_ORIGINS", f"http://127.0.0.1:{port}")
    environ.setdefault("PREFECT_SERVER_CSRF_PROTECTION_ENABLED", "true")
    # a server and a worker tell what they do, other than the command line
    environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO")
    # with it no command asks which server is meant
    environ.setdefault("PREFECT_PROFILES_PATH", str(home.prefect_profile))


def run(prog_name: str = "") -> None:
    """Become the command that the arguments are.

    Raises:
        ConfigError: no command is named.
    """
    if len(sys.argv) < 2:
        raise ConfigError(
            "Name the command: python -m flows.servers.prefect_server prefect version"
        )
    home = Home()
    protect(home, os.environ)
    prepare(home)
    open_home(home)
    set_strings(home, os.environ)
    write_profile(home, os.environ)
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main(run)
