"""Put the page of a night where people and programs find it."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path

from flywheel.config import Home, UseCase
from flywheel.errors import FlywheelError
from flywheel.reports import night_index
from flywheel.store import open_store
from flywheel.store.nights import night_runs
from tasks.collect import write

log = logging.getLogger(__name__)

ARTIFACT_FOLDER = "report"
"""Where the page lies among the artifacts of an MLflow run, as ``night.html``."""
ARTIFACT_NAME = "night.html"


def page_path(home: Home, use_case_name: str, as_of: datetime) -> Path:
    """Where the page of a night lies; ``as_of`` must have a time zone."""
    return home.reports(use_case_name) / night_index.page_name(as_of)


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


def link_pages(use_case: UseCase, home: Home, as_of: datetime) -> None:
    """Write the index of all nights, and link the page of this night with those beside it.

    The index is a convenience: where it cannot be written, the log says so and the night stands.
    """
    try:
        with open_store(home.warehouse, read_only=True) as store:
            nights = night_runs.nights(store, use_case.name)
    except FlywheelError as unread:
        log.warning("the index of nights could not be written: %s", unread)
        return
    folder = home.reports(use_case.name)
    times = [night.as_of for night in nights]
    there = [as_of for as_of in times if page_path(home, use_case.name, as_of).is_file()]
    names = [night_index.page_name(as_of) for as_of in there]
    page = night_index.index(use_case.name, use_case.description, nights, pages=names)
    tonight = night_index.page_name(as_of)
    try:
        write(folder / night_index.INDEX, page)
        for earlier, name, later in zip([None, *names], names, [*names[1:], None], strict=False):
            if tonight in (earlier, name, later):
                html = (folder / name).read_text(encoding="utf-8")
                linked = night_index.with_neighbors(html, earlier=earlier, later=later)
                write(folder / name, linked)
    except OSError as unwritten:
        log.warning("the index of nights could not be written: %s", unwritten)
