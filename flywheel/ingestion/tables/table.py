"""A table that was read: its rows with their numbers, and those that cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Refused:
    """A row that cannot be used, and why. The reason never holds what stands in the row."""

    number: int
    why: str


@dataclass(frozen=True)
class Table:
    """``rows`` with their ``numbers``, as a spreadsheet or an editor counts them.

    The header of a sheet is row 1, and the first line of a JSON Lines file line 1.
    """

    rows: tuple[Row, ...]
    numbers: tuple[int, ...]
    refused: tuple[Refused, ...] = ()
    notes: tuple[str, ...] = ()


def lines_of(text: str) -> list[str]:
    """Lines with their ends; only a line feed ends one, for others occur within texts."""
    lines = text.split("\n")
    return [f"{line}\n" for line in lines[:-1]] + lines[-1:] * bool(lines[-1])
