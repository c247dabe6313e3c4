"""What all prompts begin with, read once: its keys and values stand before every text."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Beginning:
    """Keys and values of so many ``tokens``, for one row."""

    cache: Any
    tokens: int

    @classmethod
    def read(cls, body: Any, ids: Sequence[int], after: Beginning | None = None) -> Beginning:
        """What ``body``, a causal base without its head, makes of ``ids``, ``after`` another."""
        before = after.for_rows(1) if after else None
        where = next(body.parameters()).device
        with torch.no_grad():
            found = body(
                input_ids=torch.tensor([list(ids)], device=where),
                past_key_values=before,
                use_cache=True,
            )
        return cls(found.past_key_values, len(ids) + (after.tokens if after else 0))

    def for_rows(self, rows: int) -> Any:
        """A cache that a pass over so many rows may add to. Nothing is copied before it does."""
        cache = copy.copy(self.cache)
        cache.layers = []
        for layer in self.cache.layers:
            own = copy.copy(layer)
            # keys and values of later tokens are put behind these, in tensors of their own
            own.keys = layer.keys.expand(rows, -1, -1, -1)
            own.values = layer.values.expand(rows, -1, -1, -1)
            cache.layers.append(own)
        return cache
