"""Where feedback comes from, besides files that somebody drops into the inbox.

A source reads only what is new since its watermark and gives rows as flat dicts. Known formats
(traces, exports, chats) give them in our own fields; tables are mapped by the use case. What is
read goes into the inbox as a file, and from there the same way as all feedback: taken in exactly
once, bad rows set apart. Reading something again is harmless, for its feedback_id is the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

from flywheel.config import SourceConfig
from flywheel.errors import ConfigError
from flywheel.sources.base import Answer, Pulled
from flywheel.sources.mapping import dated, mapped
from flywheel.urls import without_secrets

__all__ = ["Answer", "Pulled", "read"]

_MODULES = {
    "files": "files",
    "mlflow": "mlflow_traces",
    "label-studio": "label_studio",
    "argilla": "argilla",
    "langfuse": "langfuse",
    "chat": "chat",
    "datasets": "hugging_face",
    "sql": "sql",
}


_ENVELOPES = ("data", "rows", "items", "records", "results", "entries", "traces", "tasks", "chats")
"""Under which names programs write the list of all that they give."""
_LISTS = frozenset({"messages", "conversations", "annotations", "scores", "responses"})
"""An object with one of these is an entry itself."""
_UNREADABLE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    ImportError,
)
"""What readers raise of a system that is away, of entries in a shape nobody thought of, and where
the library of a file system is not installed."""
_OF_LIBRARIES = (
    ("aiohttp", "ClientError"),
    ("azure.core.exceptions", "AzureError"),
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("google.auth.exceptions", "GoogleAuthError"),
    ("google.api_core.exceptions", "GoogleAPIError"),
    ("paramiko", "SSHException"),
)
"""Errors of the libraries of file systems that are of no kind which Python knows."""


def _unreadable() -> tuple[type[Exception], ...]:
    """All of these, of the libraries that are in use."""
    there = ((sys.modules.get(module), name) for module, name in _OF_LIBRARIES)
    return (*_UNREADABLE, *(getattr(one, name) for one, name in there if hasattr(one, name)))


def read(source: SourceConfig, watermark: str | None, labels: Sequence[str] = ()) -> Pulled:
    """Read what is new in ``source``; its rows are in the fields of a feedback file.

    ``labels`` are those of the use case, none where it writes: a word may be one of them.

    Raises:
        ConfigError: the source cannot be reached as it is configured, or its mapping names a
            column that is not there.
    """
    reader: Callable[[SourceConfig, str | None, Sequence[str]], Pulled] = import_module(
        f"flywheel.sources.{_MODULES[source.kind]}"
    ).read
    try:
        found = reader(source, watermark, labels)
    except _unreadable() as error:
        told = str(error)
        refused = ConfigError(
            f"Source {source.name!r} ({source.kind}, {source.location}) cannot be read: "
            f"{type(error).__name__}: {_brief(error)}. Its watermark stays; nothing is lost.",
            source=source.name,
        )
        # a traceback would show what the message does not
        raise refused from (error if without_secrets(told) == told else None)
    rows, notes = dated(found.rows, source)
    ours = tuple(mapped(rows, source, found.found))
    if rows and not ours:
        rating = source.fields.get("rating")
        notes = (*notes, f"none of its {len(rows):,} rows is rated: {rating!r} is empty in all")
    return replace(found, rows=ours, notes=(*found.notes, *notes))


def _brief(error: Exception) -> str:
    # a library's message may quote data after its first line
    return without_secrets(str(error).strip().partition("\n")[0])[:200]


def rows_of(content: Any) -> Iterator[dict[str, Any]]:
    """The dicts of a JSON document: a list of them, one of them, or ``{"data": [...]}``.

    What else a list holds is an empty one, which ingestion counts and sets apart.
    """
    if isinstance(content, dict):
        within = [content[name] for name in _ENVELOPES if isinstance(content.get(name), list)]
        content = within[0] if len(within) == 1 and not _LISTS.intersection(content) else content
    items: Iterable[Any] = content if isinstance(content, list) else [content]
    yield from (item if isinstance(item, dict) else {} for item in items if item is not None)
