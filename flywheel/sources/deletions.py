"""What people deleted in another system: their feedback is gone there, and is withdrawn here.

A system keeps no trace of a deletion. But a source that reads an answer anew reads all that is said
of it now; feedback that was taken in before and is not among that was deleted.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from flywheel.config import SourceConfig
from flywheel.sources.base import called, key, plain_name

_COUNTING = ("accept", "reject", "correct", "label")
"""Kinds of which a person's last one on an answer counts."""
_AGAIN = re.compile(r"~\d+$")
_ASSESSMENT = re.compile(r"a-[0-9a-f]{32}")
"""An id of MLflow's, which is a feedback's own while nobody changed it."""
_TICK = timedelta(seconds=1)
"""Within one second a withdrawal is the last."""


def deleted(
    source: SourceConfig,
    standing: Mapping[str, Collection[str]],
    stored: Iterable[tuple[str, str, str, str, datetime]],
    rows: Sequence[Mapping[str, Any]],
    at: datetime,
    *,
    about: Literal["prediction_id", "text"] = "prediction_id",
) -> list[dict[str, Any]]:
    """Rows that withdraw what was deleted, and say again what of the same person still stands.

    Args:
        source: Where it was said.
        standing: Prediction or text → how the system calls all that is said of it now.
        stored: The id, kind, prediction or text, rater and time of feedback that was taken in, in
            the order of time; withdrawals among it.
        rows: What the source reads now.
        at: When that is.
        about: Whether feedback is about predictions or about texts.
    """
    last = {(subject, rater): (name, kind, given)
            for name, kind, subject, rater, given in stored}  # fmt: skip
    now: dict[tuple[str, str], list[tuple[datetime, Mapping[str, Any]]]] = defaultdict(list)
    for row in rows:
        if row.get("kind") in _COUNTING and (given := _moment(row)):
            now[str(row.get(about)), str(row["rater_id"])].append((given, row))
    found = []
    for (subject, rater), (name, kind, given) in last.items():
        known = _called(source, name)
        if known is None or (kind != "withdraw" and known in standing.get(subject, ())):
            continue
        left = max(now.get((subject, rater), []), key=lambda one: one[0], default=None)
        if left and left[0] > given:
            continue
        moment = max(at, given + _TICK)
        if kind != "withdraw":
            found.append({
                "feedback_id": key(source.name, known, "deleted", name),
                "kind": "withdraw",
                about: subject,
                "rater_id": rater,
                "given_at": moment.isoformat(),
            })  # fmt: skip
        if left:
            # also what was deleted, and is there again to the letter
            stands = _called(source, str(left[1]["feedback_id"]))
            again = key(source.name, stands, "stands", name)
            later = (moment + _TICK).isoformat()
            found.append({**left[1], "feedback_id": again, "given_at": later})
    return found


def _called(source: SourceConfig, name: str) -> str | None:
    """How the system calls a feedback; None of one that this source surely did not bring.

    The service, and files of the inbox, may have a source of the same name.
    """
    name = _AGAIN.sub("", name)
    found = plain_name(source.name, {"feedback_id": name})
    if found is None and source.kind == "mlflow" and _ASSESSMENT.fullmatch(name):
        return name
    if found is None and name.startswith(f"{source.kind}-"):
        # versions before 0.2.0 put the kind before it
        found = name.removeprefix(f"{source.kind}-")
    return found and called(found)


def _moment(row: Mapping[str, Any]) -> datetime | None:
    try:
        given = datetime.fromisoformat(str(row.get("given_at")))
    except ValueError:
        return None
    return given.astimezone(UTC) if given.tzinfo else None
