"""Feedback: checked as ingest will check it, kept once, and by nobody for somebody else."""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from flywheel.config import ServingConfig
from flywheel.errors import DataError, TransientError
from flywheel.feedback import parse_feedback
from flywheel.feedback_files import MAX_ROW_BYTES
from flywheel.records import Feedback
from flywheel.service.commits import Commits, line_of
from flywheel.service.keys import Caller, Marks
from flywheel.service.metrics import Metrics
from flywheel.service.schemas import FeedbackReceipt, FeedbackRequest

REMEMBERED = 100_000
"""Feedback ids of which the service knows what was said; ingest knows them all."""


class NotStored(TransientError):
    """The disk did not take what had to be kept."""


class NotYours(DataError):
    """The answer was given to somebody else."""


class Conflict(DataError):
    """The feedback id stands for another feedback already."""


class Reactions:
    """Takes feedback into ``commits``; ``heard`` is told of each that is new and on the disk."""

    def __init__(
        self,
        config: ServingConfig,
        labels: tuple[str, ...],
        commits: Commits,
        marks: Marks,
        metrics: Metrics,
        *,
        heard: Callable[[Feedback], None] | None = None,
    ) -> None:
        self._config, self._labels, self._heard = config, labels, heard
        self._commits, self._marks, self._metrics = commits, marks, metrics
        self._seen: OrderedDict[str, bytes] = OrderedDict()

    async def take(self, caller: Caller, given: FeedbackRequest) -> FeedbackReceipt:
        """Keep a feedback; on the disk when this returns.

        Raises:
            DataError: it breaks the contract; the message names the field and the rule.
            NotYours: the answer was given to another customer.
            Conflict: its ``feedback_id`` stands for another feedback.
            NotStored: the disk did not take it; send it again.
        """
        row = self._row(caller, given)
        feedback = parse_feedback(row, labels=self._labels)
        size = len(line_of(row))
        if size > MAX_ROW_BYTES:
            raise DataError(f"the feedback has {size} bytes, at most {MAX_ROW_BYTES} are allowed")
        said = _said(feedback, timed=given.given_at is not None)
        before = self._seen.get(feedback.feedback_id)
        if before == said:
            return FeedbackReceipt(feedback_id=feedback.feedback_id, status="known")
        if before is not None:
            raise Conflict("feedback_id stands for another feedback; a revision needs its own")
        try:
            await self._commits.append([row])
        except OSError as error:
            raise NotStored("The feedback could not be stored. Send it again later.") from error
        self._seen[feedback.feedback_id] = said
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        self._metrics.feedback.labels(feedback.kind).inc()
        if self._heard is not None:
            self._heard(feedback)
        return FeedbackReceipt(feedback_id=feedback.feedback_id, status="accepted")

    def _row(self, caller: Caller, given: FeedbackRequest) -> dict[str, Any]:
        """The row for the inbox. Where keys are customers', nobody can speak for another one."""
        if given.text is not None and len(given.text) > self._config.max_text_chars:
            raise DataError(
                f"text has {len(given.text)} characters, at most {self._config.max_text_chars} "
                "are allowed",
                field="text",
            )
        row = given.model_dump(exclude_none=True)
        row["source"] = self._config.source
        row.setdefault("given_at", datetime.now(UTC).isoformat())
        row.setdefault("feedback_id", secrets.token_hex(16))
        if (customer := caller.customer_id) is not None:
            if given.prediction_id is not None and not self._marks.belongs(
                given.prediction_id, customer
            ):
                raise NotYours("prediction_id is of no answer that was given to you")
            row["customer_id"] = customer
            row["rater_id"] = f"{customer}/{given.rater_id}" if given.rater_id else customer
            row["feedback_id"] = f"{customer}/{row['feedback_id']}"
        return row


def _said(feedback: Feedback, *, timed: bool) -> bytes:
    """What tells one feedback from another with its id; the time counts when it was given."""
    parts = [
        feedback.kind, feedback.prediction_id, feedback.text, feedback.value, feedback.rater_id,
        feedback.customer_id, feedback.group_id, feedback.given_at.isoformat() if timed else None,
    ]  # fmt: skip
    return hashlib.sha256(repr(parts).encode()).digest()
