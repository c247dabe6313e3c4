"""Micro-batches: what waits while the model is busy goes through it together.

One thread owns the model. Texts are taken in the order they came, one of each caller in turn, at
most `WINDOW` at a time, sorted by length, and cut into passes so that little is padded and none has
too many tokens.
Which version answers is looked up when a window begins, so that a swap falls between passes.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from flywheel.errors import TransientError
from flywheel.serving.models.engine import Engine, Probabilities
from flywheel.serving.models.fair_queue import Turns
from flywheel.serving.prometheus import Metrics
from flywheel.serving.quotas import Known, may_have

WINDOW = 128
PASS_TOKENS = 48
"""What a pass costs beside its tokens, in tokens: a rough fit, default base, two cores."""
_SMOOTHING = 0.2
_T = TypeVar("_T")


class Overloaded(TransientError):
    """More texts wait than may. ``facts["retry_after_s"]`` is when they will have been answered."""


class NothingServes(TransientError):
    """No version answers yet."""


@dataclass(frozen=True)
class Answered:
    """Probabilities of one text, and who gave them; ``tokens`` is None where none were counted."""

    probabilities: Probabilities
    version: str
    digest: str
    tokens: int | None = None


@dataclass(eq=False)
class _Item:
    text: str
    engine: Engine | None
    done: asyncio.Future[Answered]
    tokens: int = 0


class Batcher:
    """Answers texts with whatever ``serving`` names at that moment, or with a given version."""

    def __init__(
        self,
        serving: Callable[[], Engine | None],
        metrics: Metrics,
        *,
        max_waiting: int,
        max_tokens: int,
    ) -> None:
        self._serving = serving
        self._metrics = metrics
        self._max_waiting, self._max_tokens = max_waiting, max_tokens
        self._items: Turns[_Item] = Turns()
        self._known = Known()
        self._wake = asyncio.Event()
        self._owner = ThreadPoolExecutor(1, "torch")
        self._text_s = 0.05

    async def answer(
        self,
        texts: Sequence[str],
        *,
        engine: Engine | None = None,
        bounded: bool = True,
        who: str = "",
    ) -> list[Answered]:
        """Answer texts, in order; all of them wait, or none does.

        Args:
            texts: What to answer.
            engine: Who answers; None is whoever serves.
            bounded: Whether a full queue refuses them.
            who: The key that asks; where there are several, none of them fills the queue.

        Raises:
            Overloaded: the queue is full, or this caller's share of it.
            NothingServes: no version answers yet.
        """
        if bounded and not self._has_room(who, len(texts)):
            wait_s = math.ceil(len(self._items) * self._text_s) or 1
            raise Overloaded(
                f"{len(self._items)} texts wait, at most {self._max_waiting} may, a share of it of "
                f"each key; try again in {wait_s} s.",
                retry_after_s=wait_s,
            )
        loop = asyncio.get_running_loop()
        items = [_Item(text, engine, loop.create_future()) for text in texts]
        self._items.add(who, items)
        self._metrics.waiting.set(len(self._items))
        self._wake.set()
        await asyncio.wait([item.done for item in items])
        # every one is asked, so that none is reported as never retrieved
        for error in [item.done.exception() for item in items]:
            if error is not None:
                raise error
        return [item.done.result() for item in items]

    def _has_room(self, who: str, texts: int) -> bool:
        together = len(self._items) + texts
        # shadows are nobody's
        if not who or not self._known.are_several(who):
            return together <= self._max_waiting
        return may_have(self._items.held(who) + texts, together, self._max_waiting)

    async def run(self) -> None:
        """Answer what waits, until cancelled."""
        try:
            while True:
                await self._wake.wait()
                window = self._items.take(WINDOW)
                self._metrics.waiting.set(len(self._items))
                if not self._items:
                    self._wake.clear()
                for engine, items in self._by_engine(window):
                    await self._answer(engine, items)
        finally:
            self._owner.shutdown(cancel_futures=True)

    def _by_engine(self, window: Sequence[_Item]) -> list[tuple[Engine, list[_Item]]]:
        serving = self._serving()
        groups: dict[int, tuple[Engine, list[_Item]]] = {}
        for item in window:
            engine = item.engine or serving
            if engine is None:
                item.done.set_exception(NothingServes("No version answers yet."))
            else:
                groups.setdefault(id(engine), (engine, []))[1].append(item)
        return list(groups.values())

    async def _answer(self, engine: Engine, items: list[_Item]) -> None:
        texts = [item.text for item in items]
        lengths = await self._owned(items, partial(engine.lengths, texts))
        if lengths is None:
            return
        for item, tokens in zip(items, lengths, strict=True):
            item.tokens = tokens
        for batch in _passes(items, self._max_tokens):
            begun = time.perf_counter()
            texts = [item.text for item in batch]
            answers = await self._owned(batch, partial(engine.answer, texts))
            if answers is None:
                continue
            took_s = time.perf_counter() - begun
            self._text_s += _SMOOTHING * (took_s / len(batch) - self._text_s)
            self._metrics.batch_rows.observe(len(batch))
            self._metrics.batch_s.observe(took_s)
            for item, probabilities in zip(batch, answers, strict=True):
                item.done.set_result(
                    Answered(probabilities, engine.version, engine.digest, item.tokens)
                )

    async def _owned(self, items: Sequence[_Item], work: Callable[[], _T]) -> _T | None:
        """Do work on the owner's thread; what it raises goes to the items that wait for it."""
        future = asyncio.get_running_loop().run_in_executor(self._owner, work)
        await asyncio.wait([future])
        error = future.exception()
        if error is None:
            return future.result()
        for item in items:
            item.done.set_exception(error)
        return None


def _passes(items: Sequence[_Item], max_tokens: int) -> list[list[_Item]]:
    """Items by length, in the passes that cost least together.

    A pass costs its rows times its longest row, and `PASS_TOKENS` for being one. None is larger
    than ``max_tokens`` unless it is a single row.
    """
    rows = sorted(items, key=lambda item: item.tokens)
    cost, begins = [0.0], [0]
    for end, item in enumerate(rows, start=1):
        best, begin = min(
            (cost[first] + PASS_TOKENS + (end - first) * item.tokens, first)
            for first in range(max(0, end - max(1, max_tokens // max(1, item.tokens))), end)
        )
        cost.append(best)
        begins.append(begin)
    passes, end = [], len(rows)
    while end:
        passes.append(rows[begins[end] : end])
        end = begins[end]
    return passes[::-1]
