"""Environment defaults for Prefect, MLflow and the model libraries, set before they are imported.

Nothing that the user has set is changed. No telemetry, no look-ups at model hubs, state under the
flywheel home only.
"""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

from flywheel.access.mlflow_password import let_in
from flywheel.access.prefect_password import NO_ORIGIN, admit
from flywheel.config import Home
from flywheel.errors import HomeUnusable
from flywheel.files.permissions import keep_private, make_home
from flywheel.text.log_filter import hide_secrets
from flywheel.tracking.relocation import follow_move


def prepare(home: Home) -> None:
    """Set every default, best before Prefect or MLflow is imported; our own log lines are heard.

    The home is not touched: ``--help`` makes none. What is made from here on is its owner's alone.

    Raises:
        ConfigError: ``FLYWHEEL_UMASK`` would let others in.
    """
    keep_private()
    hide_secrets()
    for package in ("flywheel", "tasks", "flows"):
        logging.getLogger(package).setLevel(logging.INFO)
    defaults = {
        "PREFECT_HOME": str(home.prefect),
        # the project's folder names another one, for commands that are typed in it
        "PREFECT_PROFILES_PATH": str(
            Path(os.environ.get("PREFECT_HOME") or home.prefect, "profiles.toml")
        ),
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": NO_ORIGIN,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        # what is logged outside a flow has no page to stand on
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_SERVER_UI_API_URL": "/api",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(home.prefect / "ui"),
        "DO_NOT_TRACK": "1",
        "MLFLOW_TRACKING_URI": home.mlflow_uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        # progress is shown by flywheel.progress
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TQDM_DISABLE": "1",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        # price lists of models, which it would fetch for traces
        "MLFLOW_MODEL_CATALOG_URI": "",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "TOKENIZERS_PARALLELISM": "false",
        # each prepared kernel holds memory; 64 are enough for the shapes of a night
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
        # served and child processes must find the same state
        "FLYWHEEL_HOME": str(home.root),
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    let_in(home.root, home.mlflow_uri, os.environ)


def open_home(home: Home) -> None:
    """Make the home, or close it to others; see that it can be written to, and `follow_move`.

    Prefect's servers and clients of this process get what they know each other by (`admit`).

    Raises:
        HomeUnusable: it is no folder that this process may write to.
        StoreBusy: it was moved, and a night is running in it under another path.
    """
    try:
        make_home(home.root)
        with tempfile.TemporaryFile(dir=home.root):
            pass
    except OSError as error:
        raise HomeUnusable(
            f"The home {home.root} cannot be written to: {error.strerror}. Nothing was changed. "
            "Let this user write there, or name another folder in FLYWHEEL_HOME.",
            path=str(home.root),
        ) from error
    follow_move(home)
    admit(home)


def prepare_serving() -> None:
    """Leave a core to the service itself; to be called before torch is imported.

    The model gets the other cores, and its threads sleep while they have no work: threads that
    spin, as torch's do by default, take the cores from whoever reads the requests.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() - 1)))


def usable_cores() -> int:
    """How many this process may use; macOS does not let a process be kept to some."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1
