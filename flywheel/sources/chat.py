"""Chats with ratings, one JSON object a line: OpenAI's messages, or ShareGPT's conversations.

    {"id": "c1", "messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content":
     "…"}], "rating": "up", "user": "u7", "created_at": "2026-01-01T09:00:00Z"}

``location`` is the file, anywhere that fsspec reaches. The last user message is the text, the
assistant's answer after it the label; a message may have a rating of its own. What a rating says
is in `flywheel.sources.ratings`; a ``correction`` corrects. Ratings may come later than the chat.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flywheel.config import SourceConfig
from flywheel.ingestion.messages import Turn, messages_of, moment_of, turns
from flywheel.sources.base import Answer, Pulled, called, key
from flywheel.sources.exports import entries, require_known
from flywheel.sources.ratings import REFUSED, reactions

_EXPECTED = "has messages (role and content) or conversations (from and value)"


_WHO = ("user", "user_id", "userId", "customer_id", "customerId", "customer")
_REMARKS = ("comment", "text")
"""What somebody wrote beside a rating."""
_TIMES = ("created_at", "createdAt", "timestamp", "created", "create_time", "time", "date")


@dataclass(frozen=True)
class _Rated:
    """A turn of a chat and what was said of it; no turn where there is no text and answer."""

    chat: Mapping[str, Any]
    turn: Turn | None
    rating: Any
    correction: Any
    comment: str | None

    @property
    def customer(self) -> str | None:
        """Who chatted, as the system that kept the chat calls them."""
        found = next((self.chat[name] for name in _WHO if self.chat.get(name)), None)
        if isinstance(found, dict):
            found = found.get("id") or found.get("email")
        return _named(found)

    def identity(self, source: str) -> str:
        """The turn's, for a conversation has many, and other systems count from 1 too."""
        chat, turn = self.chat, self.turn
        name = chat.get("id") or chat.get("conversation_id")
        named = [name] if name else [chat.get("user"), chat.get("created_at")]
        return key(source, name or "chat", *named, *([turn.asked, turn.answered] if turn else []))


def read(source: SourceConfig, watermark: str | None, labels: Sequence[str]) -> Pulled:
    """Rated chats, where the file changed since.

    Raises:
        ValueError: no line is a chat.
    """
    found, mark, before = entries(source, watermark, labels)
    # an app may keep the chat itself in a field, beside what it is about
    chats = [{**one, **one["chat"]} if isinstance(one.get("chat"), dict) else one for one in found]
    require_known(sum(messages_of(chat) is not None for chat in chats), chats, _EXPECTED)
    rated = [one for chat in chats for one in _rated(chat)]
    rows: list[dict[str, Any]] = []
    answers: list[Answer] = []
    said = reactions([one.rating for one in rated], source)
    reacted: set[str] = set()
    for one, reaction in zip(rated, said, strict=True):
        made = _time(one)
        if one.correction is not None:
            reaction = {"kind": "correct", "value": one.correction}
        if reaction is not None:
            reacted.add(one.identity(source.name))
        said_too = {"kind": "comment", "value": one.comment} if one.comment else None
        reactions_told = [found for found in (reaction, said_too) if found]
        if not reactions_told or (made and made <= before):
            continue
        rows += [_row(one, source, made, found) for found in reactions_told]
        if one.turn and made:
            answers.append(_answer(one, source, made))
    standing = {
        name: names for chat in chats for name, names in _standing(chat, source, reacted).items()
    }
    notes = () if rated or not chats else (f"none of its {len(chats):,} chats is rated",)
    return Pulled(tuple(rows), tuple(answers), mark, notes, standing=standing)


def _standing(
    chat: Mapping[str, Any], source: SourceConfig, reacted: Collection[str]
) -> dict[str, frozenset[str]]:
    """Turn → how `key` writes what is said of it, of a chat whose messages are rated by themselves.

    A rating of the whole chat is of its last turn, and moves on as the chat grows.
    """
    if not chat.get("id") or any(one is not None for one in _said(chat)):
        return {}
    names = (
        _Rated(chat, turn, None, None, None).identity(source.name)
        for turn in turns(messages_of(chat) or [])
    )
    own = frozenset({called(chat["id"])})
    return {name: own if name in reacted else frozenset() for name in names}


def _rated(chat: Mapping[str, Any]) -> Iterator[_Rated]:
    """The ratings of a chat: of messages that have their own, and of its last turn."""
    found = list(turns(messages_of(chat) or []))
    of = [(turn.message, turn) for turn in found]
    for rated, turn in [*of, (chat, found[-1] if found else None)]:
        rating, correction, comment = _said(rated)
        if any(one is not None for one in (rating, correction, comment)):
            yield _Rated(chat, turn, rating, correction, comment)


def _said(of: Mapping[str, Any]) -> tuple[Any, Any, str | None]:
    """The rating, the correction and the remark that stand in a chat or a message."""
    rating, comment = of.get("rating"), None
    for name in ("feedback", "annotation"):
        within = of.get(name)
        if rating is None and within is not None:
            rating = within.get("rating") if isinstance(within, dict) else within
        if isinstance(within, dict):
            written = next((within[key] for key in _REMARKS if within.get(key)), None)
            comment = written if isinstance(written, str) and written.strip() else comment
    return rating, of.get("correction"), comment


def _row(
    one: _Rated, source: SourceConfig, made: str, reaction: Mapping[str, Any]
) -> dict[str, Any]:
    identity = one.identity(source.name)
    row = {
        "feedback_id": key(source.name, one.chat.get("id") or "chat", identity, made, reaction),
        "prediction_id": identity,
        "rater_id": str(one.customer or one.chat.get("id") or identity),
        "given_at": made,
    }
    if one.turn is None:
        return row | {REFUSED: "turn"}
    shown = {"rating": str(one.rating)} if REFUSED in reaction else {}
    return {**row, **reaction, **shown}


def _answer(one: _Rated, source: SourceConfig, made: str) -> Answer:
    assert one.turn is not None
    return Answer(
        prediction_id=one.identity(source.name),
        text=one.turn.asked,
        label=one.turn.answered,
        answered_at=datetime.fromisoformat(made),
        group_id=_named(one.chat.get("conversation_id")),
        customer_id=one.customer,
    )


def _time(one: _Rated) -> str:
    """When the answer was given, in ISO form; empty where nothing says it."""
    holders = (one.chat, one.turn.message if one.turn else {})
    written = (holder.get(name) for holder in holders for name in _TIMES if holder.get(name))
    found = moment_of(next(written, None))
    return found.isoformat() if found else ""


def _named(identity: object) -> str | None:
    return None if identity is None or identity == "" else str(identity)
