"""Group commit: what arrives while the disk is busy goes onto it together, with one wait."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from flywheel.ingestion.journal import Journal
from flywheel.serving.prometheus import Metrics
from flywheel.serving.quotas import InboxShares

log = logging.getLogger(__name__)

Group = asyncio.Future[OSError | None]


class Commits:
    """Appends rows to a `Journal`; `append` returns when they are on the disk."""

    def __init__(
        self,
        journal: Journal,
        metrics: Metrics,
        *,
        tick_s: float = 1.0,
        shares: InboxShares | None = None,
    ) -> None:
        self._journal, self._shares = journal, shares
        self._metrics = metrics
        self._tick_s = tick_s
        self._blocks: list[bytes] = []
        self._group: Group | None = None
        self._sizes: Counter[str] = Counter()
        """What the blocks take, in bytes, by caller."""
        self._wake = asyncio.Event()
        self._disk = ThreadPoolExecutor(1, f"disk-{journal.kind}")
        self.fault: OSError | None = None
        """Why the last writing failed; None when it did not."""

    async def append(self, rows: Iterable[Mapping[str, Any]], *, who: str | None = None) -> None:
        """Write rows of a caller and wait until they are on the disk.

        Raises:
            OSError: they are not.
        """
        error = await asyncio.shield(self._enqueue(rows, who))
        if error is not None:
            raise error

    def post(self, rows: Iterable[Mapping[str, Any]], *, who: str | None = None) -> None:
        """Write rows soon; what fails then is counted and logged, and nobody is told.

        Raises:
            OSError: the caller has no room left for them.
        """
        self._enqueue(rows, who)

    async def run(self) -> None:
        """Write until cancelled, then once more, and seal the segment."""
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), self._tick_s)
                self._wake.clear()
                await self._commit()
                await self._seal(self._journal.rotate)
        finally:
            await self._commit()
            await self._seal(self._journal.close)
            self._disk.shutdown()

    async def _seal(self, work: Callable[[], None]) -> None:
        """Let go of a segment; one that cannot be sealed is sealed by whoever recovers it."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._disk, work)
        except OSError as error:
            self.fault = error
            log.error("could not seal a file in %s: %s", self._journal.folder, error.strerror)

    def _enqueue(self, rows: Iterable[Mapping[str, Any]], who: str | None = None) -> Group:
        blocks = [line_of(row) for row in rows]
        if who is not None:
            size = sum(map(len, blocks))
            if self._shares is not None:
                self._shares.require(who, size + self._sizes[who])
            self._sizes[who] += size
        self._blocks += blocks
        if self._group is None:
            self._group = asyncio.get_running_loop().create_future()
        self._wake.set()
        return self._group

    async def _commit(self) -> None:
        blocks, group = self._blocks, self._group
        sizes, self._sizes = self._sizes, Counter()
        self._blocks, self._group = [], None
        if group is None:
            return
        begun = time.perf_counter()
        error: OSError | None = None
        try:
            await asyncio.get_running_loop().run_in_executor(
                self._disk, self._journal.write, blocks
            )
        except OSError as caught:
            error = caught
            log.error(
                "could not write %d %s to %s: %s",
                len(blocks), self._journal.kind, self._journal.folder, error.strerror,
            )  # fmt: skip
            self._metrics.unwritten.labels(self._journal.kind).inc(len(blocks))
        if error is None and self._shares is not None:
            self._shares.wrote(self._journal.wrote_to, sizes)
        self.fault = error
        self._metrics.commit_s.labels(self._journal.kind).observe(time.perf_counter() - begun)
        group.set_result(error)


def line_of(row: Mapping[str, Any]) -> bytes:
    """A row as it is written."""
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"
