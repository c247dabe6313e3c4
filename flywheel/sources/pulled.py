"""What a source gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


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
