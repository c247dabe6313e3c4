"""The service itself: answers, feedback, and what becomes of both, without HTTP."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from flywheel.config import Home, UseCase
from flywheel.dataset.images import Images
from flywheel.errors import DataError, TransientError
from flywheel.ingestion.journal import FEEDBACK, PREDICTIONS, Fsync, Journal, Write, recover
from flywheel.ingestion.predictions import prediction_row, shadow_row
from flywheel.records import Prediction, Shadow
from flywheel.records.answers import top
from flywheel.serving.cache import Cache
from flywheel.serving.feedback import NotStored, Reactions
from flywheel.serving.group_commit import Commits
from flywheel.serving.http.auth import Allowance, Caller, Marks
from flywheel.serving.http.schemas import Answer, Asked, FeedbackReceipt, FeedbackRequest, Readiness
from flywheel.serving.labels import Labels
from flywheel.serving.models.adapter_manager import Adapters
from flywheel.serving.models.batching import Answered, Batcher, Overloaded
from flywheel.serving.models.engine import Engine, ModelSource, RegistryModelSource
from flywheel.serving.models.routing import Route, Routes, draw
from flywheel.serving.models.version_manager import Versions
from flywheel.serving.prometheus import Metrics
from flywheel.serving.quotas import InboxShares, PictureShares
from flywheel.serving.tracing import Tracing
from flywheel.text.normalize import text_id

log = logging.getLogger(__name__)


class RateLimited(TransientError):
    """A caller asks for more than it may. ``facts["retry_after_s"]`` is when it may again."""


class Service:
    """One use case's service; `start` it within an event loop, and `stop` it there.

    Labels that are changed in the use case's ``file`` hold for feedback at once.
    """

    def __init__(
        self,
        use_case: UseCase,
        home: Home,
        *,
        file: Path | None = None,
        shelf: ModelSource | None = None,
        write: Write | None = None,
        fsync: Fsync | None = None,
    ) -> None:
        self.use_case, self.home = use_case, home
        self.config = config = use_case.serving
        self.metrics = Metrics()
        shelf = shelf or RegistryModelSource(home, use_case.name, config)
        self.versions = Versions(use_case, shelf, self.metrics)
        self.batcher = Batcher(
            lambda: self.versions.serving,
            self.metrics,
            max_waiting=config.max_waiting,
            max_tokens=config.max_batch_tokens,
        )
        self.adapters = Adapters(use_case, shelf, self.metrics, self.versions, self.batcher)
        self._routes = Routes(config, self.versions, self.adapters, self.metrics)
        disk: dict[str, Any] = {
            "max_bytes": int(config.segment_mb * 1e6),
            "max_age_s": config.segment_s,
            "max_held_bytes": int(config.inbox_mb * 1e6),
            **({"write": write} if write else {}),
            **({"fsync": fsync} if fsync else {}),
        }
        inbox, reserve = home.inbox(use_case.name), int(config.reserve_mb * 1e6)
        held = float(disk["max_held_bytes"])
        self._predictions = Commits(
            Journal(inbox, PREDICTIONS, reserve_bytes=reserve, **disk),
            self.metrics,
            shares=InboxShares(inbox, PREDICTIONS, held),
        )
        self._feedback = Commits(
            Journal(inbox, FEEDBACK, **disk),
            self.metrics,
            shares=InboxShares(inbox, FEEDBACK, held),
        )
        self._marks = Marks.of(home.serving)
        self._tracing: Tracing | None = None
        if config.tracing == "mlflow":
            self._tracing = Tracing(use_case, home, self._marks, self.metrics)
        self._labels = Labels(use_case, file)
        self._reactions = Reactions(
            config, self._labels, self._feedback, self._marks, self.metrics,
            on_feedback=self._tracing.keep_feedback if self._tracing else None,
        )  # fmt: skip
        self._images = Images(home.images) if use_case.is_image else None
        self._pictures = PictureShares(home.images, config.pictures_mb * 1e6, NotStored)
        self._allowance = Allowance.of(config)
        self._cache = Cache(config.cached_answers, int(config.cache_mb * 1e6))
        self._tasks: list[asyncio.Task[None]] = []
        self._background: set[asyncio.Task[None]] = set()

    # ---- Life

    async def start(self) -> None:
        """Seal what a dead service left, load the champion, begin to follow it."""
        inbox = self.home.inbox(self.use_case.name)
        recover(inbox)
        await asyncio.to_thread(self._reactions.remember, inbox)
        self._tasks = [
            asyncio.create_task(self.batcher.run(), name="batcher"),
            asyncio.create_task(self._predictions.run(), name="predictions"),
            asyncio.create_task(self._feedback.run(), name="feedback"),
            asyncio.create_task(
                self.versions.follow(self.batcher, poll_s=self.config.poll_s), name="versions"
            ),
        ]
        if self.config.adapters.field is not None:
            following = self.adapters.follow(poll_s=self.config.poll_s)
            self._tasks.append(asyncio.create_task(following, name="adapters"))
        if self._tracing is not None:
            self._tasks.append(asyncio.create_task(self._tracing.run(), name="tracing"))

    async def stop(self) -> None:
        """Put what is accepted onto the disk, and end."""
        for task in (*self._background, *reversed(self._tasks)):
            task.cancel()
        await asyncio.gather(*self._background, *self._tasks, return_exceptions=True)

    def wake(self) -> None:
        """Look at the registry now."""
        self.versions.woken.set()
        self.adapters.woken.set()

    @property
    def alive(self) -> bool:
        """Whether everything that should run does."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    def metrics_page(self) -> bytes:
        """For Prometheus: what the service counts, and what the last night left of all nights."""
        file = self.home.night_metrics(self.use_case.name)
        try:
            return self.metrics.page() + file.read_bytes()
        except FileNotFoundError:
            # before a first night
            return self.metrics.page()

    def readiness(self) -> Readiness:
        """Whether requests are answered, and by whom."""
        serving, before = self.versions.serving, self.versions.before
        challenger = self.versions.challenger
        disk_ok = not (self._predictions.fault or self._feedback.fault)
        return Readiness(
            ready=self.alive and serving is not None,
            model_version=serving and serving.version,
            digest=serving and serving.digest,
            runtime=serving and serving.runtime,
            unproven=serving is not None and self.versions.unproven,
            labels=list(self._labels.names),
            previous_version=before and before.version,
            challenger_version=challenger and challenger.version,
            adapter_versions=self.adapters.loaded,
            refused_versions=sorted({*self.versions.refused, *self.adapters.refused}),
            registry_ok=self.versions.trouble is None,
            disk_ok=disk_ok,
        )

    # ---- Answers

    async def predict(
        self, caller: Caller, asked: Sequence[Asked], *, durable: bool | None = None
    ) -> list[Answer]:
        """Answer texts, in order, and record every answer.

        Raises:
            DataError: a text or a name cannot be used; nothing was answered.
            RateLimited, Overloaded: later.
            NothingServes: no version answers yet.
            NotStored: the disk is full, and answers that are not recorded are not given.
        """
        begun_ns = time.time_ns()
        self._check(asked)
        self._spend(caller, len(asked))
        if self._images is not None:
            asked = await asyncio.to_thread(self._addressed, caller, asked)
        who = [caller.customer_id or one.customer_id for one in asked]
        by_customer = self.use_case.split.by_customer
        groups = [
            caller.named(one.group_id) or (customer if by_customer else None) or text_id(one.text)
            for one, customer in zip(asked, who, strict=True)
        ]
        routes = await self._routes.of(caller, asked, groups)
        # known is to each customer what they asked themselves
        whose = [f"customer {name}" if name else f"key {caller.name}" for name in who]
        texts = [one.text for one in asked]
        answered = await self._answered(texts, routes, whose, caller.name)
        ended_ns, now = time.time_ns(), datetime.now(UTC)
        predictions = [
            Prediction(
                prediction_id=self._marks.new_id(customer),
                text=one.text,
                group_id=group,
                customer_id=customer,
                label=top(answer.probabilities),
                probabilities=answer.probabilities,
                model_version=answer.version,
                digest=answer.digest,
                predicted_at=now,
            )
            for one, customer, group, (answer, _) in zip(asked, who, groups, answered, strict=True)
        ]
        recorded = await self._record(
            predictions,
            durable=self.config.durable if durable is None else durable,
            who=caller.name,
        )
        if recorded:
            shared = zip(predictions, routes, strict=True)
            self._ask_shadows([prediction for prediction, route in shared if route.shared])
        answers = [
            self._answer(prediction, recorded=recorded, cached=cached)
            for prediction, (_, cached) in zip(predictions, answered, strict=True)
        ]
        if self._tracing is not None:
            self._tracing.answered(
                predictions, answers, answered, begun_ns=begun_ns, ended_ns=ended_ns
            )
        return answers

    async def _answered(
        self, texts: Sequence[str], routes: Sequence[Route], whose: Sequence[str], who: str
    ) -> list[tuple[Answered, bool]]:
        """Each text's answer, and whether it was known from before."""
        engines = [route.engine for route in routes]
        found: list[tuple[Answered, bool] | None] = []
        for text, engine, caller in zip(texts, engines, whose, strict=True):
            asked = engine or self.versions.serving
            known = self._cache.find(caller, asked.digest, text) if asked else None
            hit = Answered(known, asked.version, asked.digest) if known and asked else None
            found.append((hit, True) if hit else None)
        for engine in set(engines):
            missing = [i for i, one in enumerate(found) if one is None and engines[i] is engine]
            if missing:
                answers = await self._ask([texts[i] for i in missing], engine, who)
                for i, answer in zip(missing, answers, strict=True):
                    found[i] = answer, False
                    self._cache.keep(whose[i], answer.digest, texts[i], answer.probabilities)
        return [one for one in found if one is not None]

    async def _ask(self, texts: Sequence[str], engine: Engine | None, who: str) -> list[Answered]:
        """Ask a version; where it fails and is not the one that serves, ask that one."""
        asking = asyncio.ensure_future(self.batcher.answer(texts, engine=engine, who=who))
        await asyncio.wait([asking])
        error = asking.exception()
        if error is None:
            return asking.result()
        if engine is None or isinstance(error, Overloaded):
            raise error
        if engine is self.versions.challenger:
            self.metrics.shadows.labels(engine.version, type(error).__name__).inc(len(texts))
        else:
            self.metrics.fallbacks.labels("failed").inc(len(texts))
        return await self.batcher.answer(texts, who=who)

    async def _record(self, predictions: Sequence[Prediction], *, durable: bool, who: str) -> bool:
        rows = [prediction_row(prediction) for prediction in predictions]
        try:
            if not durable and self._predictions.fault is None:
                self._predictions.post(rows, who=who)
            else:
                await self._predictions.append(rows, who=who)
        except OSError as error:
            if self.config.disk_full == "feedback":
                raise NotStored("The answer could not be recorded, so it is not given.") from error
            return False
        return True

    def _answer(self, prediction: Prediction, *, recorded: bool, cached: bool) -> Answer:
        confidence = prediction.probabilities[prediction.label]
        abstained = confidence < self.use_case.gate.abstain_below
        self.metrics.answers.labels(
            prediction.model_version, str(abstained).lower(), str(cached).lower()
        ).inc()
        return Answer(
            prediction_id=prediction.prediction_id,
            label=prediction.label,
            confidence=confidence,
            probabilities=dict(prediction.probabilities),
            abstained=abstained,
            model_version=prediction.model_version,
            digest=prediction.digest,
            unproven=self.versions.unproven,
            recorded=recorded,
        )

    def _check(self, asked: Sequence[Asked]) -> None:
        if len(asked) > self.config.max_texts:
            raise DataError(f"{len(asked)} texts, at most {self.config.max_texts} are allowed")
        for one in asked:
            if len(one.text) > self.config.max_text_chars:
                raise DataError(
                    f"text has {len(one.text)} characters, at most {self.config.max_text_chars} "
                    "are allowed",
                    field="text",
                )
            for name in ("text", "group_id", "customer_id", "segment"):
                value = getattr(one, name)
                if value is not None and (not value.strip() or "\0" in value):
                    raise DataError(f"{name} is blank or holds a NUL byte", field=name)

    def _address(self, caller: Caller, text: str) -> str:
        """A text as it is; where inputs are pictures it is kept, and named by its address.

        Raises:
            DataError: it is no address of a kept picture and no ``data:`` URL, or cannot be used.
            NotStored: there is no room for it.
        """
        if self._images is None:
            return text
        room = partial(self._pictures.take, caller.name)
        try:
            return replace(self._images, room=room).sent(text.strip())
        except DataError as error:
            raise DataError(f"text {error.message}", field="text") from error

    def _addressed(self, caller: Caller, asked: Sequence[Asked]) -> list[Asked]:
        if self._images is not None:
            self._images.refuse_too_much(one.text.strip() for one in asked)
        return [one.model_copy(update={"text": self._address(caller, one.text)}) for one in asked]

    def _spend(self, caller: Caller, texts: int) -> None:
        wait_s = self._allowance.wait_s(caller, texts, now=time.monotonic())
        if wait_s:
            raise RateLimited(f"Try again in {wait_s} s.", retry_after_s=wait_s)

    # ---- Answers that are not shown

    def _ask_shadows(self, predictions: Sequence[Prediction]) -> None:
        """Let the version that was not asked answer a share of the requests, later and unseen."""
        share, challenger = self.config.shadow_share, self.versions.challenger
        if challenger is None or not share:
            return
        drawn = [p for p in predictions if draw("shadow", p.prediction_id) < share]
        shown = [p for p in drawn if p.digest != challenger.digest]
        canaries = [p for p in drawn if p.digest == challenger.digest]
        for asked, engine in ((shown, challenger), (canaries, self.versions.serving)):
            if asked and engine is not None:
                self._later(self._shadow(asked, engine))

    async def _shadow(self, predictions: Sequence[Prediction], engine: Engine) -> None:
        asking = asyncio.ensure_future(
            self.batcher.answer([p.text for p in predictions], engine=engine)
        )
        await asyncio.wait([asking])
        if (error := asking.exception()) is not None:
            self.metrics.shadows.labels(engine.version, type(error).__name__).inc(len(predictions))
            return
        now = datetime.now(UTC)
        self._predictions.post(
            shadow_row(
                Shadow(
                    prediction_id=prediction.prediction_id,
                    label=top(answer.probabilities),
                    probabilities=answer.probabilities,
                    model_version=answer.version,
                    digest=answer.digest,
                    answered_at=now,
                )
            )
            for prediction, answer in zip(predictions, asking.result(), strict=True)
        )
        self.metrics.shadows.labels(engine.version, "answered").inc(len(predictions))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # ---- Feedback

    async def feedback(self, caller: Caller, given: FeedbackRequest) -> FeedbackReceipt:
        """Keep a feedback; on the disk when this returns.

        Raises:
            RateLimited: later.
            DataError, PredictionNotOwned, Conflict, NotStored: as `Reactions.take`.
        """
        self._spend(caller, 1)
        if self._images is not None and isinstance(given.text, str):
            address = await asyncio.to_thread(self._address, caller, given.text)
            given = given.model_copy(update={"text": address})
        return await self._reactions.take(caller, given)
