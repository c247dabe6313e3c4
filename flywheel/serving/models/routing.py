"""Who answers a text: the version of its customer or segment, the challenger, or the champion."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from flywheel.config import ServingConfig
from flywheel.errors import DataError
from flywheel.serving.http.auth import Caller
from flywheel.serving.http.schemas import Asked
from flywheel.serving.models.adapter_manager import Adapters, Own
from flywheel.serving.models.engine import Engine
from flywheel.serving.models.version_manager import Versions
from flywheel.serving.prometheus import Metrics


@dataclass(frozen=True)
class Route:
    """``engine`` None is whoever serves when the text's turn comes.

    What is not ``shared`` has a version of its own: canary and shadow leave it alone, also where
    the champion stands in.
    """

    engine: Engine | None
    shared: bool = True


@dataclass(frozen=True)
class Routes:
    """Finds who answers."""

    config: ServingConfig
    versions: Versions
    adapters: Adapters
    metrics: Metrics

    async def of(
        self, caller: Caller, asked: Sequence[Asked], groups: Sequence[str]
    ) -> list[Route]:
        """Who answers each text, in order, once the adapters that are asked for are loaded.

        Raises:
            DataError: a segment is given, and nothing is chosen by it here.
        """
        values = [self._value(caller, one) for one in asked]
        named = [value for value in dict.fromkeys(values) if value is not None]
        found = await asyncio.gather(*(self.adapters.of(value) for value in named))
        own = dict(zip(named, found, strict=True))
        return [
            self._route(own[value] if value is not None else None, group)
            for value, group in zip(values, groups, strict=True)
        ]

    def _route(self, own: Own | None, group: str) -> Route:
        if own is None:
            return Route(self._canary(group))
        if own.fallback is not None:
            self.metrics.fallbacks.labels(own.fallback).inc()
        return Route(own.engine, shared=False)

    def _value(self, caller: Caller, asked: Asked) -> str | None:
        """What chooses; a customer's key speaks for that customer, whatever the request says."""
        field = self.config.adapters.field
        if asked.segment is not None and field != "segment":
            raise DataError("segment chooses nothing here; leave it out", field="segment")
        if field is None:
            return None
        chosen: str | None = caller.customer_id or getattr(asked, field)
        return chosen

    def _canary(self, group: str) -> Engine | None:
        """The challenger for the groups of the canary share, None (who serves) for all others."""
        challenger = self.versions.challenger
        if challenger is None or draw("canary", group) >= self.config.canary_share:
            return None
        return challenger


def draw(what: str, name: str) -> float:
    """A number in [0, 1) that is always the same for a name."""
    return int.from_bytes(hashlib.sha256(f"{what}\x1f{name}".encode()).digest()[:8]) / 2**64
