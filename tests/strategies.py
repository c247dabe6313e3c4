"""Hypothesis strategies for feedback: valid rows, broken rows, and anything at all."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from flywheel.records import Feedback, Prediction

LABELS = ("card", "cash", "other")

# Any text that UTF-8 can hold; ``written`` is what a customer can write (no NUL, not blank).
any_text = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40)
written = any_text.map(lambda text: text.replace("\0", "")).filter(lambda text: text.strip())
names = st.text(alphabet="abcdef0123456789-", min_size=1, max_size=6)
moments = st.datetimes(
    min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC)
)


@st.composite
def raw_feedback(draw: st.DrawFn) -> dict[str, Any]:
    """A row that keeps the contract, as a client would send it."""
    kind = draw(st.sampled_from(["accept", "reject", "correct", "rate", "comment", "label"]))
    row: dict[str, Any] = {
        "kind": kind,
        "given_at": draw(moments).isoformat(),
        "rater_id": draw(names),
        "source": draw(names),
    }
    if kind in ("correct", "label"):
        row["value"] = draw(st.sampled_from(LABELS))
    elif kind == "rate":
        row["value"] = str(draw(st.integers(0, 5)))
    elif kind == "comment":
        row["value"] = draw(written)
    about = draw(st.sampled_from(["prediction", "text", "both"]))
    if about != "text":
        row["prediction_id"] = draw(names)
    if about != "prediction":
        row["text"] = draw(written)
    for name in ("feedback_id", "group_id", "customer_id"):
        if draw(st.booleans()):
            row[name] = draw(names)
    return row


_json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@st.composite
def broken_feedback(draw: st.DrawFn) -> dict[str, Any]:
    """A valid row with some fields replaced by anything JSON can say, or removed."""
    row = draw(raw_feedback())
    for name in draw(st.lists(st.sampled_from(sorted(row)), max_size=3, unique=True)):
        if draw(st.booleans()):
            row[name] = draw(_json_values)
        else:
            del row[name]
    return row


feedback_lines = raw_feedback().map(lambda row: json.dumps(row).encode())
"""Valid JSON Lines, without the line end."""

garbage_lines = st.one_of(
    st.binary(max_size=60),
    broken_feedback().map(lambda row: json.dumps(row).encode()),
    feedback_lines.flatmap(lambda line: st.integers(0, len(line)).map(lambda end: line[:end])),
    _json_values.map(lambda value: json.dumps(value).encode()),
    st.just(b"[" * 100_000),
    st.just(b'{"kind": ' + b"9" * 5_000 + b"}"),
).map(lambda line: line.replace(b"\n", b" "))
"""Bytes that someone might drop into an inbox, without the line end."""


@st.composite
def feedbacks(draw: st.DrawFn) -> Feedback:
    """A parsed feedback about a text, with anything in it that a customer can write."""
    return Feedback(
        feedback_id=draw(names),
        kind="comment",
        given_at=draw(moments),
        rater_id=draw(names),
        source=draw(names),
        text=draw(written),
        group_id=draw(names),
        value=draw(written),
    )


def prediction(prediction_id: str = "p1", text: str = "where is my card") -> Prediction:
    """One served answer, the same each time."""
    return Prediction(
        prediction_id=prediction_id,
        text=text,
        group_id=f"group of {prediction_id}",
        customer_id=None,
        label="card",
        probabilities={"card": 0.7, "cash": 0.2, "other": 0.1},
        model_version="1",
        digest="d1",
        predicted_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def row(**changes: Any) -> dict[str, Any]:
    """A plain valid row about a text; a change to None removes the field."""
    plain = {
        "feedback_id": "f1",
        "kind": "label",
        "value": "card",
        "text": "where is my card",
        "rater_id": "ann",
        "source": "desk",
        "given_at": "2026-01-02T03:04:05Z",
    }
    return {name: value for name, value in (plain | changes).items() if value is not None}
