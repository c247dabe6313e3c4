"""What is said anew without a new time: a thumb that goes up, down and up again.

Its third row is, to the letter, the first. It has the first one's id, and would be taken for it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from flywheel.sources.base import plain_name

_AGAIN = re.compile(r"~\d+$")
_BESIDE = ("rate", "comment")
"""Kinds that stand beside what else a person says of an answer."""


def moments(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, datetime]]:
    """Rater and time of each row that has both."""
    found = ((str(row.get("rater_id")), _moment(row)) for row in rows)
    return [(rater, moment) for rater, moment in found if moment is not None]


def said_again(
    source: str, rows: Sequence[Mapping[str, Any]], stored: Sequence[tuple[Any, ...]]
) -> dict[str, str]:
    """New ids for those of the known ``rows`` after which something else was said: id → new id.

    ``stored`` is what `flywheel.store.pulled_rows.said_at` says of their moments. What is in
    ``rows`` itself stands beside them, and was not said in their place.
    """
    names = {str(row["feedback_id"]) for row in rows}
    said: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for name, *fields in stored:
        said[_place(source, name, *fields)].append(name)
    found = {}
    for row in rows:
        name, moment = str(row["feedback_id"]), _moment(row)
        fields = [row.get(of) for of in ("kind", "prediction_id", "text", "source", "rater_id")]
        so_far = said[_place(source, name, *fields, moment and _microseconds(moment))]
        if so_far and _first(so_far[-1]) not in names:
            found[name] = f"{name}~{sum(_first(one) == name for one in so_far)}"
    return found


def _place(source: str, name: str, kind: str, *fields: Any) -> tuple[Any, ...]:
    """What a later word on the same shares with it."""
    numbered = plain_name(source, {"feedback_id": _first(name)})
    return numbered, kind if kind in _BESIDE else "", *fields


def _first(name: str) -> str:
    """The id under which it was said for the first time."""
    return _AGAIN.sub("", name)


def _moment(row: Mapping[str, Any]) -> datetime | None:
    try:
        given = datetime.fromisoformat(str(row.get("given_at")))
    except ValueError:
        return None
    return given.astimezone(UTC) if given.tzinfo else None


def _microseconds(moment: datetime) -> int:
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
