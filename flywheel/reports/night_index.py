"""The way between the pages of nights: an index, and in each page the nights beside it.

A page is written before the next night is lived, so what comes after is put into it later, between
two comments. The copy of a page in MLflow has no neighbors, so nothing stands there.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from flywheel import reports
from flywheel.records import NightRecord

INDEX = "index.html"
_BETWEEN = re.compile(r"<!--nights-->.*?<!--/nights-->", re.DOTALL)


def page_name(as_of: datetime) -> str:
    """The file name of a night's page; ``as_of`` must have a time zone."""
    return f"{as_of.astimezone(UTC):%Y%m%dT%H%MZ}.html"


def index(
    use_case: str, description: str, nights: Sequence[NightRecord], *, pages: Collection[str]
) -> str:
    """The page that lists all nights, the newest first.

    Args:
        nights: The oldest first.
        pages: The names of the pages that there are (`page_name`); nights with one are linked.
    """
    rows = [
        {
            "as_of": night.as_of.isoformat(),
            "page": page_name(night.as_of) if page_name(night.as_of) in pages else None,
            "outcome": night.outcome,
            "headline": night.facts.get("headline"),
            "version": night.facts.get("version"),
        }
        for night in reversed(nights)
    ]
    return reports.render(
        "night_index.html", use_case=use_case, description=description, nights=rows
    )


def with_neighbors(html: str, *, earlier: str | None, later: str | None) -> str:
    """A night's page with links to the pages before and after it, by their file names.

    A page of an earlier release has no place for them and stays as it is.
    """
    links = reports.render("night_neighbors.html", earlier=earlier, later=later, index=INDEX)
    return _BETWEEN.sub(lambda _: f"<!--nights-->{links.strip()}<!--/nights-->", html, count=1)
