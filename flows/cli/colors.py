"""Colors of lines for people, where a terminal shows them and ``NO_COLOR`` is not set.

Only the word that says how something stands is colored; what it says is never told by color alone.
"""

from __future__ import annotations

import os
import re
from functools import partial
from typing import IO, Any

import click

_STYLES: tuple[tuple[re.Pattern[str], dict[str, Any]], ...] = tuple(
    (re.compile(pattern), style)
    for pattern, style in (
        (r"^\s*(ok|pass)(?=\s)", {"fg": "green"}),
        (r"^\s*(FAIL|fail|OPEN|error:|flywheel:)(?=\s)", {"fg": "red"}),
        (r"^\s*(open|warning:|note:)(?=\s)", {"fg": "yellow"}),
        (r"^\s*off(?=\s)", {"dim": True}),
        (r"^\s*next:(?=\s)", {"bold": True}),
        (r"(?<=: )(promoted|awaiting_approval)$", {"fg": "green"}),
        (r"(?<=: )(undecided|skipped)$", {"fg": "yellow"}),
        (r"(?<=: )(rejected|failed)$", {"fg": "red"}),
    )
)


def wanted(stream: IO[Any]) -> bool:
    """Whether a stream is a terminal that shows colors, and its user wants them (no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return bool(getattr(stream, "isatty", lambda: False)())


def paint(line: str) -> str:
    """A line with the word colored that says how something stands."""
    for pattern, style in _STYLES:
        line = pattern.sub(partial(_styled, style), line)
    return line


def _styled(style: dict[str, Any], found: re.Match[str]) -> str:
    return click.style(found[0], **style)
