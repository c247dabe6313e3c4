"""What people deleted in another system: their feedback is gone there, and is withdrawn here.

A system keeps no trace of a deletion. But a source that reads an answer anew reads all that is said
of it now; feedback that was taken in before and is not among that was deleted.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from flywheel.sources.base import key, plain_name

_COUNTING = ("accept", "reject", "correct", "label")
"""Kinds of which a person's last one on an answer counts."""
_AGAIN = re.compile(r"~\d+$")
_TICK = timedelta(seconds=1)
"""Within one second a withdrawal is the last."""


def deleted(
    source: str,
    standing: Mapping[str, Collection[str]],
    stored: Iterable[tuple[str, str, str, str, datetime]],
    rows: Sequence[Mapping[str, Any]],
    at: datetime,
) -> list[dict[str, Any]]:
    """Rows that withdraw what was deleted, and say again what of the same person still stands.

    Args:
        source: The name of the source, by which it makes ids.
        standing: Prediction → how the system calls all that is said of it now.
        stored: The id, kind, prediction, rater and time of feedback that was taken in, in the order
            of time; withdrawals among it.
        rows: What the source reads now.
        at: When that is.
    """
    last = {(prediction, rater): (name, kind, given)
            for name, kind, prediction, rater, given in stored}  # fmt: skip
    now: dict[tuple[str, str], list[tuple[datetime, Mapping[str, Any]]]] = defaultdict(list)
    for row in rows:
        if row.get("kind") in _COUNTING and (given := _moment(row)):
            now[str(row["prediction_id"]), str(row["rater_id"])].append((given, row))
    found = []
    for (prediction, rater), (name, kind, given) in last.items():
        if kind == "withdraw" or _called(source, name) in standing.get(prediction, ()):
            continue
        left = max(now.get((prediction, rater), []), key=lambda one: one[0], default=None)
        if left and left[0] > given:
            continue
        moment = max(at, given + _TICK)
        found.append({
            "feedback_id": key(source, _called(source, name), "deleted", name),
            "kind": "withdraw",
            "prediction_id": prediction,
            "rater_id": rater,
            "given_at": moment.isoformat(),
        })  # fmt: skip
        if left:
            stands = _called(source, str(left[1]["feedback_id"]))
            again = {"feedback_id": key(source, stands, "stands", name)}
            found.append({**left[1], **again, "given_at": (moment + _TICK).isoformat()})
    return found


def _called(source: str, name: str) -> str:
    """How the system calls a feedback: the id itself, where the source made none of it."""
    name = _AGAIN.sub("", name)
    return plain_name(source, {"feedback_id": name}) or name


def _moment(row: Mapping[str, Any]) -> datetime | None:
    try:
        given = datetime.fromisoformat(str(row.get("given_at")))
    except ValueError:
        return None
    return given.astimezone(UTC) if given.tzinfo else None
