"""Versions that answer for one customer or segment, beside the champion and on its base.

Each is loaded when it is first asked for, under the digest of what it is: two segments with the
same bytes load once, and other bytes never answer under an old name. Beyond a limit the one that
was asked least recently goes. Whatever is wrong with one, the champion answers instead.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from flywheel.config import UseCase
from flywheel.errors import FlywheelError, NotMeasured, TransientError
from flywheel.serving.models import smoke_test
from flywheel.serving.models.batching import Batcher
from flywheel.serving.models.engine import Engine, ModelSource
from flywheel.serving.models.version_manager import Versions, rest
from flywheel.serving.prometheus import Metrics
from flywheel.tracking.versions import Listed

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Own:
    """Who answers for what has a version of its own; ``fallback`` is why that is the champion."""

    engine: Engine | None = None
    fallback: str | None = None


class Adapters:
    """The adapters that are loaded; `follow` keeps in step with the registry."""

    def __init__(
        self,
        use_case: UseCase,
        shelf: ModelSource,
        metrics: Metrics,
        versions: Versions,
        batcher: Batcher,
    ) -> None:
        self._config = use_case.serving.adapters
        self._shelf, self._metrics = shelf, metrics
        self._versions, self._batcher = versions, batcher
        self._loader = ThreadPoolExecutor(1, "adapters")
        self._listed: Mapping[str, Listed] = {}
        self._named: Mapping[str, str] = {}
        self._looked = asyncio.Event()
        self.woken = asyncio.Event()
        """Set by whoever heard that the registry changed."""
        self._loaded: OrderedDict[str, Engine] = OrderedDict()
        self._loading: dict[str, asyncio.Task[Engine]] = {}
        self._passed: set[str] = set()
        self._refused: dict[str, str | None] = {}
        """Version → digest of the champion that it was refused beside; None: until the next look.
        """

    @property
    def loaded(self) -> list[str]:
        """Versions in memory, the one that was asked least recently first."""
        return [engine.version for engine in self._loaded.values()]

    @property
    def refused(self) -> set[str]:
        """Versions that a segment has and that take no traffic."""
        return set(self._refused)

    async def follow(self, *, poll_s: float) -> None:
        """Look at the registry when woken, and every ``poll_s`` seconds, until cancelled."""
        try:
            while True:
                await self.refresh()
                await rest(self.woken, poll_s)
        finally:
            for task in self._loading.values():
                task.cancel()
            self._loader.shutdown(cancel_futures=True)

    async def refresh(self) -> None:
        """Look once. When the registry does not answer, what it said last holds."""
        looking = asyncio.get_running_loop().run_in_executor(self._loader, self._shelf.listed)
        await asyncio.wait([looking])
        if (error := looking.exception()) is not None:
            log.error("%s The versions of segments stay as they are.", _said(error))
            return
        listed = looking.result()
        self._listed = {one.version: one for one in listed}
        self._named = {alias: one.version for one in listed for alias in one.aliases}
        self._forget_refusals()
        for digest, engine in list(self._loaded.items()):
            if not (self._may_answer(engine.version) and self._fits(engine)):
                self._unload(digest)
        self._looked.set()

    def _forget_refusals(self) -> None:
        """Let those be tried again that are named anew, or would stand beside another champion."""
        wanted = {*self._named.values(), *self._config.versions.values()}
        champion = self._versions.serving
        self._refused = {
            version: beside
            for version, beside in self._refused.items()
            if champion is not None and beside == champion.digest and version in wanted
        }

    async def of(self, value: str) -> Own | None:
        """Who answers for a value of the field; None when it has no version of its own."""
        champion = self._versions.serving
        if champion is None:
            return None
        if not self._looked.is_set():
            looked = asyncio.ensure_future(self._looked.wait())
            if not (await asyncio.wait([looked], timeout=self._config.load_s))[0]:
                looked.cancel()
                return Own(fallback="registry")
        name = self._config.name_of(value)
        version = self._named.get(name, name)
        if version not in self._listed:
            return Own(fallback="missing") if value in self._config.versions else None
        if not self._may_answer(version):
            return Own(fallback="forgotten")
        if version == champion.version:
            return Own(champion)
        found = await self._held(version, champion)
        if isinstance(found, str):
            return Own(fallback=found)
        return Own(found) if self._fits(found) else Own(fallback="other_base")

    async def _held(self, version: str, champion: Engine) -> Engine | str:
        """The adapter, loaded by now, by this request or another one; or why it is not."""
        digest = self._listed[version].record.digest or version
        if digest in self._loaded:
            self._loaded.move_to_end(digest)
            return self._loaded[digest]
        if version in self._refused:
            return "refused"
        task = self._loading.get(digest)
        if task is None:
            task = asyncio.create_task(self._load(version, champion))
            self._loading[digest] = task
            task.add_done_callback(partial(self._ended, version, digest, champion))
        done, _ = await asyncio.wait([task], timeout=self._config.load_s)
        if not done:
            return "slow"
        return "refused" if task.cancelled() or task.exception() else task.result()

    async def _load(self, version: str, champion: Engine) -> Engine:
        """Load and check one; what it answers then is what it answers alone."""
        loading = partial(self._shelf.load, version, beside=champion)
        engine = await asyncio.get_running_loop().run_in_executor(self._loader, loading)
        if engine.digest not in self._passed:
            await smoke_test.check(self._batcher, engine.use_case, engine, champion)
            self._passed.add(engine.digest)
        return engine

    def _ended(
        self, version: str, digest: str, champion: Engine, task: asyncio.Task[Engine]
    ) -> None:
        del self._loading[digest]
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            passing = isinstance(error, TransientError | OSError | NotMeasured)
            self._refused[version] = None if passing else champion.digest
            self._metrics.adapter_loads.labels("refused").inc()
            log.error("%s The champion answers for its segments.", _said(error))
            return
        self._metrics.adapter_loads.labels("loaded").inc()
        engine = task.result()
        self._loaded[engine.digest] = engine
        while len(self._loaded) > self._config.most_loaded:
            self._unload(next(iter(self._loaded)))
        self._metrics.adapters.set(len(self._loaded))

    def _unload(self, digest: str) -> None:
        """Let go of one; requests that wait for it still get its answers."""
        del self._loaded[digest]
        self._metrics.adapter_loads.labels("unloaded").inc()
        self._metrics.adapters.set(len(self._loaded))

    def _may_answer(self, version: str) -> bool:
        """Whether the registry has it, and nobody whom it learned from was forgotten since."""
        return version in self._listed and not self._listed[version].record.forgotten_data

    def _fits(self, engine: Engine) -> bool:
        """Whether it is on the ground that the champion of this moment is on."""
        champion = self._versions.serving
        return champion is not None and engine.base_signature == champion.base_signature


def _said(error: BaseException) -> str:
    """Only messages of our own are known not to quote what customers wrote."""
    return str(error) if isinstance(error, FlywheelError) else f"{type(error).__name__}."
