"""A Langfuse export (JSON or JSON Lines) of traces with their scores.

``location`` is the file, anywhere that fsspec reaches. A trace's input is the text, its output the
label answered; a boolean or 0/1 score accepts or rejects it, a categorical score corrects it, any
other number rates it, a comment is a comment.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import fsspec

from flywheel.config import SourceConfig
from flywheel.sources.files import rows_in
from flywheel.sources.pulled import Answer, Pulled


def read(source: SourceConfig, watermark: str | None) -> Pulled:
    """Scores given after the watermark, a time, and the traces that they are about."""
    traces = rows_in(source.location, fsspec.open(source.location, "rb").open())
    rows: list[dict[str, Any]] = []
    answers = []
    newest = watermark or ""
    for trace in traces:
        new = [row for row in _scores(trace) if row["given_at"] > (watermark or "")]
        if not new:
            continue
        rows += new
        newest = max(newest, *(row["given_at"] for row in new))
        answers.append(
            Answer(
                prediction_id=str(trace["id"]),
                text=_said(trace.get("input")),
                label=_said(trace.get("output")),
                answered_at=_moment(trace.get("timestamp")),
                group_id=trace.get("sessionId"),
                customer_id=trace.get("userId"),
            )
        )
    return Pulled(tuple(rows), tuple(answers), newest or None)


def _scores(trace: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for score in trace.get("scores") or []:
        if not isinstance(score, dict):
            continue
        row = {
            "prediction_id": str(trace["id"]),
            "rater_id": str(score.get("authorUserId") or trace.get("userId") or "langfuse"),
            "given_at": str(score.get("timestamp") or trace.get("timestamp")),
        }
        value, kind = score.get("value"), str(score.get("dataType") or "").upper()
        if kind == "CATEGORICAL" or (value is None and score.get("stringValue")):
            reaction: dict[str, Any] = {"kind": "correct", "value": score.get("stringValue")}
        elif kind == "BOOLEAN" or value in (0, 1, True, False):
            reaction = {"kind": "accept" if value else "reject"}
        else:
            reaction = {"kind": "rate", "value": str(value)}
        yield {**row, **reaction, "feedback_id": str(score["id"])}
        if score.get("comment"):
            identity = f"{score['id']}-comment"
            yield {**row, "kind": "comment", "value": score["comment"], "feedback_id": identity}


def _said(value: Any) -> str:
    while isinstance(value, (dict, list)) and value:
        if isinstance(value, list):
            value = value[-1]
        else:
            named = ("text", "content", "input", "label", "messages")
            value = value[next((name for name in named if name in value), next(iter(value)))]
    return value if isinstance(value, str) else ""


def _moment(written: Any) -> datetime:
    found = datetime.fromisoformat(str(written))
    return found if found.tzinfo else found.replace(tzinfo=UTC)
