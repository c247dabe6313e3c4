"""Leave what Prometheus is told of a use case's nights in a file, after each of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from flywheel.config import Home, UseCase
from flywheel.errors import FlywheelError, NightOutOfOrder
from flywheel.files import private_files
from flywheel.reports import night_metrics
from flywheel.store import open_store
from flywheel.store.nights import night_runs

log = logging.getLogger(__name__)


@dataclass
class Lived:
    """``anew``: a night was lived, and not only looked up."""

    anew: bool = True


@contextmanager
def measured(use_case: UseCase, home: Home) -> Iterator[Lived]:
    """Leave the metrics when the night is over, however it ends; that they cannot be costs none.

    The warehouse is for one process at a time, so that whoever scrapes reads this file.
    """
    begun, lived = time.monotonic(), Lived()
    try:
        yield lived
    except NightOutOfOrder:
        lived.anew = False
        raise
    finally:
        if lived.anew:
            _leave(use_case, home, seconds=time.monotonic() - begun)


def _leave(use_case: UseCase, home: Home, *, seconds: float) -> None:
    try:
        with open_store(home.warehouse, read_only=True) as store:
            nights = night_runs.nights(store, use_case.name)
            waiting = store.waiting(use_case.name)
        content = night_metrics.page(use_case.name, nights, waiting=waiting, seconds=seconds)
        private_files.replace(home.night_metrics(use_case.name), content)
    except (FlywheelError, OSError) as unwritten:
        log.warning("the night's metrics were not written: %s", type(unwritten).__name__)
