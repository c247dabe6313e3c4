"""What a source gives."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flywheel.config import SourceConfig

_NAME_CHARS = 64
_DIGEST_CHARS = 20
_PREFIXED = ("label-studio", "chat")
"""Kinds whose ids began with the kind before 0.2.0."""


@dataclass(frozen=True)
class Answer:
    """An answer that some other system gave to a customer, for reactions to be about."""

    prediction_id: str
    text: str = field(repr=False)
    label: str = field(repr=False)
    answered_at: datetime
    group_id: str | None = None
    customer_id: str | None = None


@dataclass(frozen=True)
class Pulled:
    """New rows, the answers they are about, and the watermark that stands once they are in."""

    rows: tuple[Mapping[str, Any], ...] = field(repr=False)
    answers: tuple[Answer, ...] = field(default=(), repr=False)
    watermark: str | None = None
    notes: tuple[str, ...] = ()
    """What a person should know of how it was read."""
    found: frozenset[str] = frozenset()
    """Those of the source's ``fields`` that its reader took itself, from within its entries."""
    standing: Mapping[str, frozenset[str]] = field(default_factory=dict, repr=False)
    """Prediction → how its system calls all that is said of it now; of those read whole."""
    standing_labels: Mapping[str, frozenset[str]] = field(default_factory=dict, repr=False)
    """The same of texts that have labels."""
    unread: tuple[str, ...] = ()
    """Its files that could not be read, each with the reason; they are read again next time."""


def key(source: str, identity: object, *revision: object) -> str:
    """A feedback_id: other systems number from 1 as well, and say a thing again when it changes.

    ``revision`` is what makes a changed feedback another one: when it was changed, and its content.
    """
    content = json.dumps([source, str(identity), *revision], ensure_ascii=False, default=str)
    digest = hashlib.sha256(content.encode("utf-8", "backslashreplace")).hexdigest()
    return f"{source}-{called(identity)}-{digest[:_DIGEST_CHARS]}"


def called(identity: object) -> str:
    """How a system's own id is written within one that `key` makes."""
    return str(identity)[:_NAME_CHARS]


def plain_name(source: str, row: Mapping[str, Any]) -> str | None:
    """What a system calls a feedback itself, of an id that `key` made; None of others."""
    name = str(row["feedback_id"])
    if not name.startswith(f"{source}-") or name[-_DIGEST_CHARS - 1 : -_DIGEST_CHARS] != "-":
        return None
    return name[len(source) + 1 : -_DIGEST_CHARS - 1] or None


def names_before(source: SourceConfig, row: Mapping[str, Any]) -> tuple[str, ...]:
    """Ids that versions before 0.2.0 gave to the same feedback; none where `key` made none."""
    name = plain_name(source.name, row)
    if name is None:
        return ()
    return (name, f"{source.kind}-{name}") if source.kind in _PREFIXED else (name,)
