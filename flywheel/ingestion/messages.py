"""What was asked and answered, in the forms that chat systems keep it in.

Messages of OpenAI (``role`` and ``content``, a text or parts), of ShareGPT (``from`` and
``value``), and requests and responses that hold one text under a name of their own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from flywheel.ingestion import timestamp_cells

_ROLES = {"human": "user", "user": "user", "prompter": "user", "customer": "user"} | dict.fromkeys(
    ("assistant", "gpt", "bot", "ai", "model", "chatgpt", "bing", "bard"), "assistant"
)
_LISTS = ("messages", "conversations", "conversation")
"""Under which names a chat keeps its messages."""
_ASKED = ("text", "input", "inputs", "question", "query", "prompt", "content", "message")
_ANSWERED = ("label", "text", "output", "outputs", "answer", "response", "completion", "content")
_ENVELOPES = ("choices", "message", "messages", "generations", "candidates")
"""Under which names a response keeps the message that answers."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A text and the answer to it. ``message`` is the answer as its system keeps it."""

    asked: str = field(repr=False)
    answered: str = field(repr=False)
    message: Mapping[str, Any] = field(repr=False)


def messages_of(chat: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """The messages of a chat; None where it has none in a known form."""
    for name in _LISTS:
        found = chat.get(name)
        if isinstance(found, list) and all(isinstance(one, dict) for one in found):
            return found if any(role_of(one) for one in found) else None
    return None


def role_of(message: Mapping[str, Any]) -> str | None:
    """``user`` or ``assistant``; None for instructions, tools and unknown forms."""
    return _ROLES.get(str(message.get("role") or message.get("from") or "").casefold())


def turns(messages: Iterable[Mapping[str, Any]]) -> Iterator[Turn]:
    """Each answer that has a text, with the last text that was asked before it.

    An assistant that calls tools answers several times; the last one of them is the answer.
    """
    asked = ""
    last: Turn | None = None
    for message in messages:
        said = content_of(message)
        if role_of(message) == "user":
            if last:
                yield last
            asked, last = said, None
        elif role_of(message) == "assistant" and said and asked:
            last = Turn(asked, said, message)
    if last:
        yield last


def content_of(message: Mapping[str, Any]) -> str:
    """The text of a message; its parts of text, where it is made of parts."""
    content = message.get("content", message.get("value", message.get("text")))
    if isinstance(content, str):
        return content.strip()
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    return "\n".join(text.strip() for text in texts if isinstance(text, str) and text.strip())


def asked_in(request: Any) -> str:
    """What was asked in a request as a trace holds it; empty where it cannot be told."""
    try:
        return _asked(request)
    except RecursionError:
        return ""


def answered_in(response: Any) -> str:
    """What was answered in a response as a trace holds it; empty where it cannot be told."""
    try:
        return _answered(response)
    except RecursionError:
        return ""


def _asked(request: Any) -> str:
    request = _parsed(request)
    messages = _messages(request)
    if messages is not None:
        users = [content_of(one) for one in messages if role_of(one) == "user"]
        return users[-1] if users else ""
    return _named(request, _ASKED, _asked)


def _answered(response: Any) -> str:
    response = _parsed(response)
    messages = _messages(response)
    if messages is not None:
        said = [content_of(one) for one in messages if role_of(one) == "assistant"]
        return said[-1] if said else ""
    if isinstance(response, list):
        return _answered(response[-1]) if response else ""
    if isinstance(response, dict):
        for name in _ENVELOPES:
            if isinstance(response.get(name), dict | list):
                return _answered(response[name])
    return _named(response, _ANSWERED, _answered)


def at(entry: Any, path: str) -> Any:
    """What stands at a path of names and numbers, ``input.ticket.body``; None where nothing does.

    A name that holds dots itself comes first.
    """
    if isinstance(entry, dict) and path in entry:
        return entry[path]
    name, _, rest = path.partition(".")
    if isinstance(entry, dict):
        within = entry.get(name)
    elif isinstance(entry, list) and name.isdecimal() and int(name) < len(entry):
        within = entry[int(name)]
    else:
        return None
    return at(within, rest) if rest else within


def moment_of(written: Any) -> datetime | None:
    """A time in UTC; None where there is none that can be read."""
    if isinstance(written, int | float) and not isinstance(written, bool):
        # JavaScript counts milliseconds
        seconds = written / 1_000 if written > 1e11 else written
        with suppress(ValueError, OverflowError, OSError):
            return datetime.fromtimestamp(seconds, UTC)
        return None
    try:
        found = _dated(str(written))
        if found is None:
            return None
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _dated(written: str) -> datetime | None:
    """A time as programs write it; none of which a country says whether day or month is first."""
    if timestamp_cells.YEAR_LAST.match(written.strip()):
        return None
    return timestamp_cells.moment(written, months_first=False)


def _messages(content: Any) -> list[Mapping[str, Any]] | None:
    if isinstance(content, dict):
        return [content] if role_of(content) else messages_of(content)
    if isinstance(content, list) and content and all(isinstance(one, dict) for one in content):
        return content if any(role_of(one) for one in content) else None
    return None


def _named(content: Any, names: tuple[str, ...], read: Callable[[Any], str]) -> str:
    """The text under the best name, or the only one."""
    if isinstance(content, list):
        content = dict(enumerate(content))
    if not isinstance(content, dict):
        return content.strip() if isinstance(content, str) else ""
    held = [one for one in content.values() if isinstance(one, str | dict | list)]
    best = next((content[name] for name in names if name in content), None)
    return read(best) if best else read(held[0]) if len(held) == 1 else ""


def _parsed(content: Any) -> Any:
    """JSON that was written as a text, as it was meant."""
    if isinstance(content, str) and content.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            return content
    return content
