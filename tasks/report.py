"""Put the page of a night where people and programs find it."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

from flywheel.config import Home
from tasks.collect import write

log = logging.getLogger(__name__)

ARTIFACT_FOLDER = "report"
"""Where the page lies among the artifacts of an MLflow run, as ``night.html``."""
ARTIFACT_NAME = "night.html"


def page_path(home: Home, use_case_name: str, as_of: datetime) -> Path:
    """Where the page of a night lies; ``as_of`` must have a time zone."""
    return home.reports(use_case_name) / f"{as_of.astimezone(UTC):%Y%m%dT%H%MZ}.html"


def write_page(home: Home, use_case_name: str, as_of: datetime, html: str) -> Path:
    """Write the page of a night, whole or not at all, and return where; again: it is replaced."""
    path = page_path(home, use_case_name, as_of)
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, html)
    return path


def rewrite_page(home: Home, use_case_name: str, as_of: datetime, html: str) -> None:
    """Write the page of a night that is over once more; where that fails, the first one stays."""
    try:
        write_page(home, use_case_name, as_of, html)
    except OSError as unwritten:
        log.warning("the night's page could not be written again: %s", unwritten)
