"""Feedback: checked as ingest will check it, kept once, and by nobody for somebody else."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flywheel.config import ServingConfig
from flywheel.errors import DataError, TransientError
from flywheel.ingestion.feedback import parse_feedback
from flywheel.ingestion.journal import FEEDBACK, PREFIX
from flywheel.ingestion.readers import MAX_ROW_BYTES
from flywheel.records import Feedback
from flywheel.serving.group_commit import Commits, line_of
from flywheel.serving.http.auth import Caller, Marks
from flywheel.serving.http.schemas import FeedbackReceipt, FeedbackRequest
from flywheel.serving.labels import Labels
from flywheel.serving.prometheus import Metrics
from flywheel.text.label_spelling import match

REMEMBERED = 100_000
"""Feedback ids of which the service knows what was said; ingest knows them all."""


class NotStored(TransientError):
    """The disk did not take what had to be kept."""


class PredictionNotOwned(DataError):
    """The answer was given to somebody else."""


class Conflict(DataError):
    """The feedback id stands for another feedback already."""


class Reactions:
    """Takes feedback into ``commits``; ``on_feedback`` gets each that is new and on the disk."""

    def __init__(
        self,
        config: ServingConfig,
        labels: Labels,
        commits: Commits,
        marks: Marks,
        metrics: Metrics,
        *,
        on_feedback: Callable[[Feedback], None] | None = None,
    ) -> None:
        self._config, self._labels, self._on_feedback = config, labels, on_feedback
        self._commits, self._marks, self._metrics = commits, marks, metrics
        # by the hash of an id, which is short however long the id is
        self._seen: OrderedDict[bytes, _Said] = OrderedDict()
        self._writing: dict[bytes, asyncio.Event] = {}
        """Feedback ids that are on their way to the disk."""

    def remember(self, inbox: Path) -> None:
        """Know again what was taken before this service began, from its files in an inbox.

        Without, an id that stands for another feedback would be acknowledged, and then passed over
        by ingest as known. The newest files count, up to `REMEMBERED` rows.
        """
        known: list[tuple[bytes, _Said]] = []
        for path in _newest_first(inbox):
            if len(known) >= REMEMBERED:
                break
            known += reversed(list(self._read(path)))
        for name, said in reversed(known[:REMEMBERED]):
            self._seen[name] = said

    def _read(self, path: Path) -> Iterator[tuple[bytes, _Said]]:
        with contextlib.suppress(FileNotFoundError), path.open("rb") as lines:
            for line in lines:
                # what cannot be read, or breaks today's contract, was not acknowledged as it is
                with contextlib.suppress(ValueError, DataError):
                    feedback = parse_feedback(json.loads(line), labels=())
                    yield _hashed(feedback.feedback_id), _Said.of(self._spelled(feedback))

    def _spelled(self, feedback: Feedback) -> Feedback:
        """A feedback with its label as the use case writes it, which is how `take` compares."""
        if feedback.kind not in ("correct", "label") or feedback.value is None:
            return feedback
        return replace(feedback, value=match(feedback.value, self._labels.names) or feedback.value)

    async def take(self, caller: Caller, given: FeedbackRequest) -> FeedbackReceipt:
        """Keep a feedback; on the disk when this returns.

        Raises:
            DataError: it breaks the contract; the message names the field and the rule.
            PredictionNotOwned: the answer was given to another customer.
            Conflict: its ``feedback_id`` stands for another feedback.
            NotStored: the disk did not take it; send it again.
        """
        row = self._row(caller, given)
        feedback = parse_feedback(row, labels=self._labels.names)
        timed = not _is_missing(given.given_at)
        size = len(line_of(row))
        if size > MAX_ROW_BYTES:
            raise DataError(f"the feedback has {size} bytes, at most {MAX_ROW_BYTES} are allowed")
        name = _hashed(feedback.feedback_id)
        while name in self._writing:
            await self._writing[name].wait()
        if (before := self._seen.get(name)) is not None:
            if before.is_same(feedback, timed=timed):
                return FeedbackReceipt(feedback_id=feedback.feedback_id, status="known")
            raise Conflict("feedback_id stands for another feedback; a revision needs its own")
        self._writing[name] = asyncio.Event()
        try:
            await self._commits.append([row], who=caller.name)
            self._seen[name] = _Said.of(feedback)
        except OSError as error:
            raise NotStored("The feedback could not be stored. Send it again later.") from error
        finally:
            self._writing.pop(name).set()
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        self._metrics.feedback.labels(feedback.kind).inc()
        if self._on_feedback is not None:
            self._on_feedback(feedback)
        return FeedbackReceipt(feedback_id=feedback.feedback_id, status="accepted")

    def _row(self, caller: Caller, given: FeedbackRequest) -> dict[str, Any]:
        """The row for the inbox. Where keys are customers', nobody can speak for another one.

        What was sent is judged before names are put below the customer's: for the same reason as
        in a file.
        """
        most = self._config.max_text_chars
        if isinstance(given.text, str) and len(given.text) > most:
            raise DataError(
                f"text has {len(given.text)} characters, at most {most} are allowed", field="text"
            )
        sent = given.model_dump(exclude_none=True)
        row = {name: value for name, value in sent.items() if not _is_missing(value)}
        row["source"] = self._config.source
        row.setdefault("given_at", datetime.now(UTC).isoformat())
        row.setdefault("feedback_id", secrets.token_hex(16))
        customer = caller.customer_id
        if customer is not None:
            row.setdefault("rater_id", customer)
        asked = parse_feedback(row, labels=self._labels.names)
        if customer is not None:
            if asked.prediction_id is not None and not self._marks.belongs(
                asked.prediction_id, customer
            ):
                raise PredictionNotOwned("prediction_id is of no answer that was given to you")
            rater = sent.get("rater_id")
            row["customer_id"] = customer
            row["rater_id"] = customer if _is_missing(rater) else f"{customer}/{rater}"
            row["feedback_id"] = f"{customer}/{row['feedback_id']}"
            if "group_id" in row:
                row["group_id"] = caller.named(row["group_id"])
        return row


def _is_missing(value: object) -> bool:
    """As `parse_feedback` takes it: nothing, or a blank text."""
    return value is None or (isinstance(value, str) and not value.strip())


def _hashed(feedback_id: str) -> bytes:
    return hashlib.sha256(feedback_id.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True)
class _Said:
    """What tells one feedback from another with its id: without the time, and with it."""

    untimed: bytes
    timed: bytes

    @classmethod
    def of(cls, feedback: Feedback) -> _Said:
        parts = [
            feedback.kind, feedback.prediction_id, feedback.text, feedback.value,
            feedback.rater_id, feedback.customer_id, feedback.group_id,
        ]  # fmt: skip
        given_at = feedback.given_at.isoformat()
        return cls(*(hashlib.sha256(repr(told).encode()).digest() for told in (
            parts, [*parts, given_at],
        )))  # fmt: skip

    def is_same(self, feedback: Feedback, *, timed: bool) -> bool:
        """Whether another one with its id says the same; the time counts where it was given."""
        other = _Said.of(feedback)
        return self.timed == other.timed if timed else self.untimed == other.untimed


def _newest_first(inbox: Path) -> list[Path]:
    """The service's own files of feedback, waiting and ingested; their names tell their time."""
    pattern = f"*{PREFIX}*.{FEEDBACK}.jsonl"
    found = [*inbox.glob(pattern), *(inbox / "done").glob(pattern)]
    return sorted(found, key=lambda path: path.name[path.name.index(PREFIX) :], reverse=True)
