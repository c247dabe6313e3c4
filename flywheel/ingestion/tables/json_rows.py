"""Rows of JSON: one object a line, an array of them, or columns as pandas writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from flywheel.ingestion.tables.table import Refused, Table, lines_of


def json_lines(text: str, notes: tuple[str, ...] = ()) -> Table:
    """The objects of a JSON Lines file, one a line; only a line feed ends one."""
    found, refused = [], []
    for number, line in enumerate(lines_of(text), start=1):
        if not line.strip():
            continue
        try:
            found.append((number, json.loads(line)))
        except (ValueError, RecursionError) as error:
            refused.append(Refused(number, f"no valid JSON ({_told_short(error)})"))
    return _of_objects(found, notes, refused)


def _told_short(error: BaseException) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__


def array(content: Any, notes: tuple[str, ...]) -> Table:
    """The objects of an array, of the only array in an object, or of columns as pandas has them."""
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list)]
        content = _of_pandas(content) or (lists[0] if len(lists) == 1 else None)
    if not isinstance(content, list):
        raise NoRows("it holds no array of objects, nor columns of one length")
    return _of_objects(list(enumerate(content, start=1)), notes)


class NoRows(ValueError):
    """JSON of which no rows can be made; the message says why."""


def _of_pandas(content: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Rows of what ``DataFrame.to_json`` and ``to_dict`` write: split, columns, index or list."""
    names, data = content.get("columns"), content.get("data")
    if isinstance(names, list) and isinstance(data, list):
        named = [str(name) for name in names]
        return [dict(zip(named, cells, strict=False)) for cells in data if isinstance(cells, list)]
    held = list(content.values())
    if len(held) > 1 and all(isinstance(one, list) and len(one) == len(held[0]) for one in held):
        return [dict(zip(content, cells, strict=True)) for cells in zip(*held, strict=True)]
    if held and all(isinstance(one, dict) for one in held):
        if all(name.isdecimal() for name in content):
            return held
        numbers = list(dict.fromkeys(number for column in held for number in column))
        if all(number.isdecimal() for number in numbers):
            return [{name: content[name].get(at) for name in content} for at in numbers]
    return None


def _of_objects(
    found: Sequence[tuple[int, Any]], notes: tuple[str, ...], refused: Sequence[Refused] = ()
) -> Table:
    """The objects among values of JSON, each with its number; others are refused, too."""
    others = [
        Refused(number, f"no JSON object, but {type(row).__name__}")
        for number, row in found
        if not isinstance(row, dict)
    ]
    kept = [(number, row) for number, row in found if isinstance(row, dict)]
    return Table(
        tuple(row for _, row in kept),
        tuple(number for number, _ in kept),
        tuple(sorted((*refused, *others), key=lambda one: one.number)),
        notes,
    )
