"""The pictures of a replay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flywheel import reports


def page(facts: Mapping[str, Any]) -> str:
    """One HTML page that loads nothing."""
    return reports.render("replay.html", facts=facts)
