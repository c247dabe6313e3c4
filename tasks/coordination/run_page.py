"""Show a night on its run's page in Prefect."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
from prefect.artifacts import create_markdown_artifact
from prefect.exceptions import PrefectException

from flywheel.config import Home
from flywheel.tracking.versions import Version
from flywheel.urls import without_secrets
from tasks import plain_calls

log = logging.getLogger(__name__)

MLFLOW_PORT = 5000
"""Of ``make mlflow``, unless the variable of that name says otherwise."""


def links(report: Path, version: Version | None, home: Home) -> str:
    """Where the night's report lies, and its version in MLflow."""
    said = f"Report: [{report.name}]({report.as_uri()})\n"
    if version is None:
        return said
    page = f"{_mlflow(home)}/#/models/{quote(version.name, safe='')}/versions/{version.version}"
    return f"{said}\nMLflow: [{version.name} version {version.version}]({page})\n"


def _mlflow(home: Home) -> str:
    """MLflow's page: the server that is set, else that of ``make mlflow``."""
    uri = without_secrets(home.mlflow_uri)
    if urlsplit(uri).scheme in ("http", "https"):
        return uri.rstrip("/")
    return f"http://127.0.0.1:{os.environ.get('MLFLOW_PORT') or MLFLOW_PORT}"


def show_page(page: str, *, key: str) -> None:
    """Put a page beside the run; what Prefect does not take is noted, and costs no night.

    Where tasks are called plainly there is no run.
    """
    if plain_calls.are_on():
        return
    try:
        create_markdown_artifact(page, key=key)
    except (httpx.HTTPError, PrefectException, ValueError, OSError) as error:
        log.warning(
            "Prefect did not take the artifact %s (%s); the night's page lies in the home",
            key,
            type(error).__name__,
        )
