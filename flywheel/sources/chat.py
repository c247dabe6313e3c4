"""OpenAI-style chats with ratings, one JSON object a line.

    {"id": "c1", "messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content":
     "…"}], "rating": "up", "user": "u7", "created_at": "2026-01-01T09:00:00Z"}

``location`` is the file, anywhere that fsspec reaches. The last user message is the text, the
assistant's answer after it the label. ``rating`` up, true or 1 accepts, down, false or 0 rejects;
``correction`` corrects. The watermark is the newest ``created_at``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import fsspec

from flywheel.config import SourceConfig
from flywheel.sources.files import rows_in
from flywheel.sources.pulled import Answer, Pulled

_UP = {"up", "true", "1", "yes", "good", "positive"}


def read(source: SourceConfig, watermark: str | None) -> Pulled:
    """Rated chats made after the watermark, a time."""
    rows: list[dict[str, Any]] = []
    answers = []
    newest = watermark or ""
    for chat in rows_in(source.location, fsspec.open(source.location, "rb").open()):
        made = _moment(chat["created_at"]) if "created_at" in chat else ""
        if watermark and made <= watermark:
            continue
        newest = max(newest, made)
        asked, answered = _turn(chat.get("messages") or [])
        identity = str(chat.get("id") or chat.get("conversation_id"))
        rating, correction = chat.get("rating"), chat.get("correction")
        if rating is None and correction is None:
            continue
        reaction: dict[str, Any] = (
            {"kind": "correct", "value": correction}
            if correction is not None
            else {"kind": "accept" if str(rating).casefold() in _UP else "reject"}
        )
        customer = chat.get("user")
        rows.append(
            {
                **reaction,
                "feedback_id": f"chat-{identity}",
                "prediction_id": identity,
                "rater_id": str(customer or identity),
                "given_at": made,
            }
        )
        if asked and made:
            answers.append(
                Answer(
                    prediction_id=identity,
                    text=asked,
                    label=answered,
                    answered_at=datetime.fromisoformat(made),
                    group_id=chat.get("conversation_id"),
                    customer_id=customer,
                )
            )
    return Pulled(tuple(rows), tuple(answers), newest or None)


def _turn(messages: list[dict[str, Any]]) -> tuple[str, str]:
    """The last user message and what the assistant said after it."""
    asked = answered = ""
    for message in messages:
        content = message.get("content")
        content = content.strip() if isinstance(content, str) else ""
        if message.get("role") == "user":
            asked, answered = content, ""
        elif message.get("role") == "assistant":
            answered = content
    return asked, answered


def _moment(written: Any) -> str:
    if isinstance(written, (int, float)):
        return datetime.fromtimestamp(written, UTC).isoformat()
    found = datetime.fromisoformat(str(written))
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
