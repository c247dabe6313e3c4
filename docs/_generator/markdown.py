"""Small parts of Markdown pages."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence

WARNING = "<!-- Written by `python -m docs._generator` from the code; do not edit. -->"


def page(title: str, *parts: str) -> str:
    """A whole page: the title, a note that it is generated, and the parts."""
    return "\n\n".join([f"# {title}", WARNING, *(part for part in parts if part)]) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; each row has as many cells as the head."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(one_line(cell) for cell in line)} |" for line in lines)


def one_line(text: str) -> str:
    """A cell: on one line, and without a bar that would end it."""
    return re.sub(r"(?<!\\)\|", r"\\|", " ".join(text.split()))


def prose(text: str | None) -> str:
    """A docstring as Markdown: code in single backticks, indentation gone."""
    return inspect.cleandoc(text or "").replace("``", "`")


def code(value: object) -> str:
    """A value or name, shown as code."""
    return f"`{value}`"
