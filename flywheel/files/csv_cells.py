"""Cells of a CSV that a spreadsheet opens, where text must never become a formula.

A cell that begins with one of ``= + - @`` is a formula, and so is what follows a semicolon, a tab
or a line break where the spreadsheet parts cells by those. A quote in front makes it text. Quotes
that stand there already get one more, so that `content` is exactly what `cell` was given.
"""

from __future__ import annotations

import re

_FORMULA = "(?=[=+\\-@\uff1d\uff0b\uff0d\uff20])"
_STARTS = re.compile(f"(^|[;\\t\\r\\n])('*){_FORMULA}")
_QUOTED = re.compile(f"(^|[;\\t\\r\\n])('*)'{_FORMULA}")


def cell(value: object) -> object:
    """A text as it may stand in a cell; numbers and None as they are."""
    return _STARTS.sub(r"\1\2'", value) if isinstance(value, str) else value


def content(cell: str) -> str:
    """What `cell` made a cell of."""
    return _QUOTED.sub(r"\1\2", cell)
