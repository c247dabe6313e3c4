"""Files of served answers, as the service leaves them in an inbox: JSON Lines, one answer a row.

A row with ``shadow`` is what another version would have answered to the same request.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, BinaryIO

from flywheel.errors import DataError
from flywheel.records import Prediction, Shadow

SUFFIX = ".predictions.jsonl"
MAX_DRIFT = 1e-3
"""How far from 1 the probabilities of an answer may sum up."""


@dataclass
class Answers:
    """What a file holds; ``rejected`` are (row number from 1, raw row, reason)."""

    predictions: list[Prediction] = field(default_factory=list)
    shadows: list[Shadow] = field(default_factory=list)
    rejected: list[tuple[int, str, str]] = field(default_factory=list)
    read: int = 0


def prediction_row(answer: Prediction) -> dict[str, Any]:
    """An answer as a row."""
    return {
        "prediction_id": answer.prediction_id,
        "text": answer.text,
        "group_id": answer.group_id,
        "customer_id": answer.customer_id,
        "label": answer.label,
        "probabilities": dict(answer.probabilities),
        "model_version": answer.model_version,
        "digest": answer.digest,
        "predicted_at": answer.predicted_at.isoformat(),
    }


def shadow_row(shadow: Shadow) -> dict[str, Any]:
    """An answer that was not shown, as a row."""
    return {
        "shadow": True,
        "prediction_id": shadow.prediction_id,
        "label": shadow.label,
        "probabilities": dict(shadow.probabilities),
        "model_version": shadow.model_version,
        "digest": shadow.digest,
        "answered_at": shadow.answered_at.isoformat(),
    }


def read(stream: BinaryIO) -> Answers:
    """Read a file to its end; a row that is no answer is set apart with its reason."""
    found = Answers()
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        found.read += 1
        try:
            answer = _row(line)
        except DataError as error:
            raw = line.decode("utf-8", "backslashreplace").strip()
            found.rejected.append((number, raw, error.message))
        else:
            if isinstance(answer, Shadow):
                found.shadows.append(answer)
            else:
                found.predictions.append(answer)
    return found


def _row(line: bytes) -> Prediction | Shadow:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError("the row is not valid JSON") from error
    if not isinstance(row, dict):
        raise DataError(f"the row must be a JSON object, found {type(row).__name__}")
    probabilities = _probabilities(row)
    label = _label(row)
    if label not in probabilities:
        raise DataError("label has no probability", field="label")
    answered: dict[str, Any] = {
        "prediction_id": _string(row, "prediction_id"),
        "label": label,
        "probabilities": probabilities,
        "model_version": _string(row, "model_version"),
        "digest": _string(row, "digest"),
    }
    if row.get("shadow"):
        return Shadow(**answered, answered_at=_time(row, "answered_at"))
    return Prediction(
        **answered,
        text=_string(row, "text"),
        group_id=_string(row, "group_id"),
        customer_id=None if row.get("customer_id") is None else _string(row, "customer_id"),
        predicted_at=_time(row, "predicted_at"),
    )


def _label(row: Mapping[str, object]) -> str:
    """A label, or the text that was written: an empty one was given out, and can be corrected."""
    return _string(row, "label", blank=True)


def _string(row: Mapping[str, object], name: str, *, blank: bool = False) -> str:
    value = row.get(name)
    if not isinstance(value, str) or "\0" in value or not (blank or value.strip()):
        must = "without NUL bytes" if blank else "that is not empty"
        raise DataError(f"{name} must be a string {must}", field=name)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{name} is not valid UTF-8", field=name) from error
    return value


def _probabilities(row: Mapping[str, object]) -> dict[str, float]:
    given = row.get("probabilities")
    if not isinstance(given, dict) or not all(
        # rounding may leave one beyond the end
        isinstance(p, int | float) and 0 <= p <= 1 + MAX_DRIFT
        for p in given.values()
    ):
        raise DataError("probabilities must be label → [0, 1]", field="probabilities")
    if not math.isclose(math.fsum(given.values()), 1, abs_tol=MAX_DRIFT):
        raise DataError("probabilities must sum to 1", field="probabilities")
    return given


def _time(row: Mapping[str, object], name: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(_string(row, name))
        if parsed.utcoffset() is None:
            raise DataError(f"{name} has no time zone", field=name)
        return parsed.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{name} is not an ISO-8601 date and time", field=name) from error
