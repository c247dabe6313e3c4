"""From a source's columns to our fields, as the use case says."""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from flywheel.config import SourceConfig
from flywheel.errors import ConfigError
from flywheel.ingestion import timestamps
from flywheel.ingestion.contract import IDENTIFIERS, names_nobody
from flywheel.ingestion.messages import at
from flywheel.sources.base import key
from flywheel.sources.ratings import reactions
from flywheel.text.label_spelling import is_blank, written

log = logging.getLogger(__name__)

_FAR = datetime(9990, 1, 1, tzinfo=UTC)
TABLES = ("files", "datasets", "sql")
"""Kinds of sources whose rows are in columns of their own."""


def mapped(
    rows: Sequence[Mapping[str, Any]], source: SourceConfig, found: Collection[str] = ()
) -> Iterator[dict[str, Any]]:
    """Rename columns, translate values, add constants; a feedback_id is made where none is.

    Fields that its reader ``found`` itself are what they are. The column of ``rating`` makes a
    reaction of its row (`flywheel.sources.ratings`), unless the row has a ``value``, too: then that
    corrects. A row without both is none.

    The ``source`` is the source's name, or what its constants say: never what a row says.

    Raises:
        ConfigError: a column of ``fields`` is in no row.
    """
    _refuse_suggestions(source)
    there = list(dict.fromkeys(name for row in rows for name in row))
    if rows:
        _refuse_missing(source, there, found)
    # else a feed could call itself gold, and write its own holdout
    counts_as = source.constants.get("source", source.name)
    renamed = 0
    for row, rated in zip(rows, _rated(rows, source), strict=True):
        taken = {o: at(row, theirs) for o, theirs in source.fields.items() if o not in found}
        if rated is None and _is_empty(taken.get("value")):
            continue
        result = {**row, **taken} if source.kind not in TABLES else taken
        if not source.fields:
            result = dict(row)
        for name, values in source.values.items():
            said = plain(result.get(name))
            result[name] = values.get(said, said) if isinstance(said, str) else said
        if rated != {}:
            # a thumb down beside the right answer: the answer says more
            corrects = not _is_empty(result.get("value"))
            result |= {"kind": "correct"} if corrects else rated or {}
        for name, value in source.constants.items():
            result[name] = value
        cells = _written(result, source)
        renamed += cells["source"] != counts_as
        yield cells | {"source": counts_as}
    if renamed:
        log.warning(
            "%d rows of source %r name another source; they count as %r. To give all of its rows "
            "another name, set constants.source in the use case.",
            renamed,
            source.name,
            counts_as,
        )


def dated(
    rows: Sequence[Mapping[str, Any]], source: SourceConfig
) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Rows with times as a feedback file has them, and what was assumed of them.

    A database's times and those of some exports have no zone, and a sheet's are written as its
    country does. What cannot be read stays as it is, and is refused with its row.
    """
    column = "given_at"
    if source.kind in TABLES and source.fields:
        column = source.fields.get("given_at", "")
    times = [at(row, column) for row in rows]
    cells = [None if _is_plain(time) else time for time in times]
    read = timestamps.read(cells, now=_FAR)
    dates = [{column: found.isoformat()} if found else {} for found in read.found]
    notes = tuple(f"column {column!r}: {note}" for note in read.notes)
    return [{**row, **date} for row, date in zip(rows, dates, strict=True)], notes


def _is_plain(cell: object) -> bool:
    """Whether a time has a zone already, and is in ISO form."""
    if isinstance(cell, datetime):
        return cell.tzinfo is not None
    try:
        return isinstance(cell, str) and datetime.fromisoformat(cell).tzinfo is not None
    except ValueError:
        return False


def _rated(rows: Sequence[Mapping[str, Any]], source: SourceConfig) -> list[dict[str, Any] | None]:
    """What the column of ratings adds to each row; nothing where no column is one."""
    column = source.fields.get("rating")
    if column is None or source.kind not in TABLES:
        return [{} for _ in rows]
    return reactions((at(row, column) for row in rows), source)


def _refuse_suggestions(source: SourceConfig) -> None:
    if source.fields.get("value", "").endswith(".suggestion"):
        raise ConfigError(
            f"Source {source.name!r} maps value from {source.fields['value']!r}: that is what a "
            "model suggested to Argilla's users, and nobody's label. kind: argilla reads what they "
            "submitted. Nothing was taken in.",
            source=source.name,
        )


def _refuse_missing(source: SourceConfig, there: Sequence[str], found: Collection[str]) -> None:
    for ours, theirs in source.fields.items():
        if not {theirs, theirs.partition(".")[0]}.intersection(there) and ours not in found:
            near = difflib.get_close_matches(theirs, there, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ConfigError(
                f"Source {source.name!r} maps {ours} from column {theirs!r}, which is not there."
                f"{hint} The columns are: {', '.join(there)}. Nothing was taken in.",
                source=source.name,
            )


def _is_empty(cell: object) -> bool:
    said = plain(cell)
    return said is None or (isinstance(said, str) and is_blank(said))


def _written(row: Mapping[str, Any], source: SourceConfig) -> dict[str, Any]:
    """The row as a feedback file has it: plain strings, a source, a stable feedback_id."""
    plainly = {name: plain(value) for name, value in row.items()}
    cells = {name: cell for name, cell in plainly.items() if cell is not None}
    if source.kind in TABLES:
        cells = {
            name: cell
            for name, cell in cells.items()
            if name not in IDENTIFIERS or not isinstance(cell, str) or not names_nobody(cell)
        }
    cells.setdefault("source", source.name)
    if not cells.get("feedback_id"):
        # with the source that the row names, as it always was: a row read again keeps its id
        content = json.dumps(cells, sort_keys=True, ensure_ascii=False, default=str)
        cells["feedback_id"] = hashlib.sha256(f"{source.name}:{content}".encode()).hexdigest()[:32]
    elif "feedback_id" in source.fields and source.kind in TABLES:
        # a ticket that is sorted anew keeps its number, and other tables count from 1 as well
        theirs = cells.pop("feedback_id")
        cells["feedback_id"] = key(source.name, theirs, cells)
    return cells


def plain(value: Any) -> Any:
    """A cell as a feedback file has it: a string, or nested as it is; None of one without a value.

    A table writes 7 as 7.0 where another row has no number, and NaN for that one.
    """
    if value is None:
        return None
    if isinstance(value, float | Decimal):
        return written(value) if math.isnan(value) or math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        # SQLite's columns without a type
        return value.decode("utf-8", "backslashreplace")
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value if isinstance(value, (str, dict, list)) else str(value)
