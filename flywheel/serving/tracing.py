"""Tells MLflow of answers and feedback. No request waits for it, and none fails by it.

What is to be told waits in a queue with an end; one thread tells it, many answers at a time. What
did not get through is counted. The record is the inbox; this is a view of it that may have gaps.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from flywheel.config import Home, UseCase
from flywheel.errors import FlywheelError
from flywheel.records import Feedback, Prediction
from flywheel.serving.http.auth import Marks
from flywheel.serving.http.schemas import Answer
from flywheel.serving.models.batching import Answered
from flywheel.serving.prometheus import Metrics
from flywheel.text.normalize import text_id
from flywheel.tracking.assessments import Reaction
from flywheel.tracking.traces import Traced, Traces

log = logging.getLogger(__name__)

MAX_QUEUED = 10_000
BATCH = 256
LINGER_S = 1.0
"""How long what is told waits for company."""
LAST_S = 5.0
"""How long a service that ends goes on telling."""

Item = Traced | Reaction


class Tracing:
    """The traces of one service; `run` tells MLflow of them until cancelled."""

    def __init__(self, use_case: UseCase, home: Home, marks: Marks, metrics: Metrics) -> None:
        self._use_case, self._marks, self._metrics = use_case, marks, metrics
        self._traces = Traces(home, use_case.name)
        self._queue: deque[Item] = deque()
        self._wake = asyncio.Event()
        self._mlflow = ThreadPoolExecutor(1, "mlflow")
        self._telling: asyncio.Future[bool | None] | None = None
        self._failing = False

    # ---- What is told

    def answered(
        self,
        predictions: Sequence[Prediction],
        answers: Sequence[Answer],
        found: Sequence[tuple[Answered, bool]],
        *,
        begun_ns: int,
        ended_ns: int,
    ) -> None:
        """Answers that were given, in order; returns at once."""
        written = self._use_case.is_generation
        for one, answer, (by, cached) in zip(predictions, answers, found, strict=True):
            self._put(
                Traced(
                    prediction_id=one.prediction_id,
                    version=one.model_version,
                    digest=one.digest,
                    label=None if written else one.label,
                    confidence=None if written else answer.confidence,
                    abstained=answer.abstained,
                    cached=cached,
                    recorded=answer.recorded,
                    input_tokens=by.tokens,
                    who=one.customer_id and self._marks.pseudonym(one.customer_id),
                    # a group that nobody named is the customer's or the text's: no conversation
                    group=(
                        self._marks.pseudonym(one.group_id)
                        if one.group_id not in (one.customer_id, text_id(one.text))
                        else None
                    ),
                    begun_ns=begun_ns,
                    ended_ns=ended_ns,
                )
            )

    def keep_feedback(self, feedback: Feedback) -> None:
        """A feedback that was accepted; returns at once. One on no answer has no trace to be on."""
        if feedback.prediction_id is None:
            return
        said = feedback.kind == "rate" or not self._use_case.is_generation
        names = (feedback.rater_id, feedback.customer_id, feedback.group_id)
        self._put(
            Reaction(
                prediction_id=feedback.prediction_id,
                kind=feedback.kind,
                value=feedback.value if said and feedback.kind != "comment" else None,
                feedback=self._marks.pseudonym(feedback.feedback_id),
                rater=self._marks.pseudonym(feedback.rater_id),
                people=tuple(sorted({self._marks.pseudonym(name) for name in names if name})),
            )
        )

    def _put(self, item: Item) -> None:
        if len(self._queue) >= MAX_QUEUED:
            self._count(item, "dropped")
            return
        self._queue.append(item)
        self._wake.set()

    # ---- Telling

    async def run(self) -> None:
        """Tell what waits, until cancelled; then what is left, for `LAST_S` at most."""
        try:
            while True:
                await self._wake.wait()
                await asyncio.sleep(LINGER_S)
                self._wake.clear()
                await self._tell()
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_S):
                    if self._telling is not None:
                        await asyncio.wait([self._telling])
                    await self._tell()
            for item in self._queue:
                self._count(item, "dropped")
            self._mlflow.shutdown(wait=False, cancel_futures=True)

    async def _tell(self) -> None:
        while self._queue:
            items, work = self._next()
            self._telling = asyncio.get_running_loop().run_in_executor(self._mlflow, work)
            # also when nobody waits for it any more
            self._telling.add_done_callback(partial(self._told, items))
            await asyncio.wait([self._telling])

    def _next(self) -> tuple[list[Item], Callable[[], Any]]:
        """The oldest feedback, or the oldest answers up to the next feedback."""
        first = self._queue.popleft()
        if isinstance(first, Reaction):
            return [first], partial(self._traces.react, first)
        answers = [first]
        while self._queue and len(answers) < BATCH and isinstance(self._queue[0], Traced):
            answers.append(self._queue[0])
            self._queue.popleft()
        return [*answers], partial(self._traces.add, answers)

    def _told(self, items: Sequence[Item], future: asyncio.Future[bool | None]) -> None:
        error = None if future.cancelled() else future.exception()
        if future.cancelled():
            result = "dropped"
        elif error is not None:
            result = "failed"
        else:
            result = "missing" if future.result() is False else "written"
        for item in items:
            self._count(item, result)
        if error is not None and not self._failing:
            # only messages of our own are known not to quote what customers wrote
            why = str(error) if isinstance(error, FlywheelError) else type(error).__name__
            log.error("%s What is not in MLflow's traces is counted, not told again.", why)
        self._failing = error is not None

    def _count(self, item: Item, result: str) -> None:
        kind = "feedback" if isinstance(item, Reaction) else "answer"
        self._metrics.traces.labels(kind, result).inc()
