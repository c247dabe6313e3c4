"""Which version answers: follows the registry's aliases, and never lets a broken one in.

A new champion is loaded beside the one that serves, compared with what was measured, asked the
canary set through the batches, and only then put in its place, between two batches. The one before
stays loaded, so that going back takes no loading.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from flywheel.config import UseCase
from flywheel.errors import FlywheelError, NotMeasured, TransientError
from flywheel.serving.models import smoke_test
from flywheel.serving.models.batching import Batcher
from flywheel.serving.models.engine import Engine, ModelSource
from flywheel.serving.models.unproven import ranked
from flywheel.serving.prometheus import Metrics
from flywheel.tracking.registry import CHALLENGER, CHAMPION

log = logging.getLogger(__name__)
_T = TypeVar("_T")


async def rest(woken: asyncio.Event, seconds: float) -> None:
    """Wait for so long, or until woken; who is woken meanwhile does not wait at all."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(woken.wait(), seconds)
    woken.clear()


class Versions:
    """The versions that are loaded; `refresh` looks whether others should be."""

    def __init__(self, use_case: UseCase, shelf: ModelSource, metrics: Metrics) -> None:
        self._use_case, self._shelf, self._metrics = use_case, shelf, metrics
        self._loader = ThreadPoolExecutor(1, "loader")
        self._refused: dict[str, str] = {}
        self._met: list[str] = []
        self._unproven: list[str] = []
        self.woken = asyncio.Event()
        """Set by whoever heard that the registry changed."""
        self.serving: Engine | None = None
        self.before: Engine | None = None
        self.challenger: Engine | None = None
        self.trouble: str | None = None
        """What the last look at the registry met; None when it met nothing."""
        self.unproven = False
        """Whether what serves is a challenger that never was champion (`serving.unproven`)."""

    @property
    def refused(self) -> dict[str, str]:
        """Versions that took no traffic, and why."""
        return dict(self._refused)

    async def follow(self, batcher: Batcher, *, poll_s: float) -> None:
        """Look when woken, and every ``poll_s`` seconds, until cancelled."""
        try:
            while True:
                await self.refresh(batcher)
                await rest(self.woken, poll_s)
        finally:
            self._loader.shutdown(cancel_futures=True)

    async def refresh(self, batcher: Batcher) -> None:
        """Look once. Whatever goes wrong, who serves goes on serving."""
        self._met = []
        await self._look(batcher)
        self.trouble = self._met[-1] if self._met else None

    async def _look(self, batcher: Batcher) -> None:
        named = await self._attempt(self._shelf.aliases)
        if named is None:
            return
        champion, challenger = named.get(CHAMPION), named.get(CHALLENGER)
        # named anew, one that was refused is tried anew
        self._refused = {
            n: why for n, why in self._refused.items() if n in {*named.values(), *self._unproven}
        }
        if champion is None and challenger is not None and self._may_be_unproven:
            await self._serve_unproven(batcher)
        elif champion is None:
            said = (
                f"The registry names no champion of {self._use_case.name}. flywheel doctor -u "
                f"{self._use_case.name} says what leads to one; serving.unproven: true lets the "
                "best challenger answer until then."
            )
            self._met.append(said)
            if self.serving is None and said != self.trouble:
                # once, and not at every look
                log.warning("Nothing can be answered yet (/predict: status 503). %s", said)
        else:
            await self._serve(batcher, champion, unproven=False)
        await self._follow_challenger(batcher, challenger)

    @property
    def _may_be_unproven(self) -> bool:
        """Whether a challenger may answer; not in place of one that was champion."""
        return self._use_case.serving.unproven and (self.serving is None or self.unproven)

    async def _serve_unproven(self, batcher: Batcher) -> None:
        """Let the best challenger answer, or the next one where that took no traffic."""
        listed = await self._attempt(self._shelf.listed)
        if listed is None:
            return
        self._unproven = ranked(listed)
        for number in self._unproven:
            await self._serve(batcher, number, unproven=True)
            if self.serving is not None and number not in self._refused:
                # it answers, or is tried again at the next look while another one does
                return
        if not self._unproven:
            self._met.append(
                f"No challenger of {self._use_case.name} may answer (serving.unproven): each was "
                "rejected, or learned from somebody who was forgotten. flywheel doctor -u "
                f"{self._use_case.name} says what leads to another."
            )

    async def _serve(self, batcher: Batcher, number: str, *, unproven: bool) -> None:
        """Let a version answer, if it does not yet and can."""
        if self.serving is None or number != self.serving.version:
            loaded = await self._ready(batcher, number)
            if loaded is None:
                return
            self._swap(loaded)
        self.unproven = unproven

    async def _follow_challenger(self, batcher: Batcher, challenger: str | None) -> None:
        config = self._use_case.serving
        if not (config.shadow_share or config.canary_share):
            return
        if challenger is None or (self.serving and challenger == self.serving.version):
            self.challenger = None
        elif self.challenger is None or challenger != self.challenger.version:
            self.challenger = await self._ready(batcher, challenger)

    def _swap(self, loaded: Engine) -> None:
        before, self.serving = self.serving, loaded
        self.before = before
        if before is not None:
            self._metrics.serving.remove(before.version)
        self._metrics.serving.labels(loaded.version).set(1)
        self._metrics.swaps.labels("swapped").inc()
        log.info(
            "version %s answers now by %s%s",
            loaded.version,
            loaded.runtime,
            f", version {before.version} stays loaded" if before else "",
        )

    async def _ready(self, batcher: Batcher, number: str) -> Engine | None:
        """The version, loaded and checked; None when it must not take traffic."""
        for held in (self.before, self.challenger):
            if held is not None and held.version == number:
                return held
        if number in self._refused:
            self._met.append(self._refused[number])
            return None
        loaded = await self._attempt(partial(self._shelf.load, number), number)
        if loaded is None:
            return None
        checking = asyncio.ensure_future(
            smoke_test.check(batcher, loaded.use_case, loaded, self.serving)
        )
        await asyncio.wait([checking])
        if (error := checking.exception()) is not None:
            self._note(error, number)
            return None
        return loaded

    async def _attempt(self, work: Callable[[], _T], number: str | None = None) -> _T | None:
        """Do work on the loader's thread; None, and a note, when it fails in whatever way."""
        future = asyncio.get_running_loop().run_in_executor(self._loader, work)
        await asyncio.wait([future])
        if (error := future.exception()) is None:
            return future.result()
        self._note(error, number)
        return None

    def _note(self, error: BaseException, number: str | None) -> None:
        """Write down what went wrong; a version that trying again cannot mend is not tried again.

        Only messages of our own are known not to quote what customers wrote.
        """
        why = str(error) if isinstance(error, FlywheelError) else type(error).__name__
        self._met.append(why)
        serving = self.serving.version if self.serving else "none"
        log.error("%s Version that answers: %s.", why, serving)
        if number is not None:
            self._metrics.swaps.labels("refused").inc()
            # a night registers a version a moment before it records what it measured
            if not isinstance(error, TransientError | OSError | NotMeasured):
                self._refused[number] = why
