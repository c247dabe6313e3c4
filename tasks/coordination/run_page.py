"""Show a night on its run's page in Prefect."""

from __future__ import annotations

import logging

import httpx
from prefect.artifacts import create_markdown_artifact
from prefect.exceptions import PrefectException

log = logging.getLogger(__name__)


def show_page(page: str, *, key: str) -> None:
    """Put a page beside the run; what Prefect does not take is noted, and costs no night."""
    try:
        create_markdown_artifact(page, key=key)
    except (httpx.HTTPError, PrefectException, ValueError, OSError) as error:
        log.warning(
            "Prefect did not take the artifact %s (%s); the night's page lies in the home",
            key,
            type(error).__name__,
        )
