"""Tell people what became of a night. What cannot be told costs no night, and is on its page."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flywheel.config import UseCase
from flywheel.config.notify import NotifyConfig
from flywheel.records import NightRecord
from flywheel.reports.night_report import NightReport
from flywheel.reports.notification import Notification, notifications

log = logging.getLogger(__name__)

_BY_SCHEME = {"http": "json", "https": "jsons"}
"""Apprise's scheme of a webhook that gets a JSON document."""

_ODD = (OSError, ValueError, TypeError, LookupError, RuntimeError, ImportError)
"""What a plugin for one of a hundred services may raise beside what Apprise catches itself."""


def tell(
    use_case: UseCase,
    night: NightReport,
    before: Sequence[NightRecord],
    *,
    page: Path | None,
) -> list[str]:
    """Tell everybody whom the use case names; returns what could not be told, in sentences.

    A night is told of once, after it is on record; one that is killed there is not told of.
    """
    untold = []
    for one in use_case.notify:
        for message in notifications(one, night, before, page=page):
            if (why := _trouble(one, message)) is not None:
                untold.append(f"{one.name} was not told of {message.event}: {why}")
                log.warning("%s", untold[-1])
    return untold


def _trouble(one: NotifyConfig, message: Notification) -> str | None:
    """Why a message was not delivered; no word of the address. None: it was."""
    address = os.environ.get(one.url_env)
    if not address:
        return f"the variable {one.url_env} is not set where the night ran"
    try:
        service = _service(address)
        if service is None:
            return f"{one.url_env} holds no address that Apprise knows"
        delivered = service.notify(
            title=message.title,
            body=message.body,
            notify_type="failure" if message.bad else "info",
        )
    except _ODD as error:
        return f"sending to the address in {one.url_env} failed ({type(error).__name__})"
    return None if delivered else f"what listens at the address in {one.url_env} did not take it"


def _service(address: str) -> Any:
    """Apprise with one address, or None where it knows no such service."""
    import apprise

    # its lines may hold an address
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    service, scheme = apprise.Apprise(), address.partition(":")[0].lower()
    with warnings.catch_warnings():
        # the first address loads all plugins, and some ask for what newer Pythons will not have
        warnings.simplefilter("ignore", DeprecationWarning)
        known = service.add(address) or (
            scheme in _BY_SCHEME and service.add(_BY_SCHEME[scheme] + address[len(scheme) :])
        )
    return service if known else None
