"""The small frozen records that travel between the parts of a night.

Times are timezone-aware UTC; texts are customers' data and never appear in a ``repr``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

FeedbackKind = Literal["accept", "reject", "correct", "rate", "comment", "label"]
FEEDBACK_KINDS: tuple[FeedbackKind, ...] = (
    "accept",
    "reject",
    "correct",
    "rate",
    "comment",
    "label",
)
Split = Literal["train", "validation", "exam"]
Outcome = Literal["promoted", "awaiting_approval", "rejected", "undecided", "skipped", "failed"]
Decision = Literal["promote", "reject", "undecided"]


@dataclass(frozen=True)
class Feedback:
    """One person's reaction to one answer, or one label given to a text.

    ``prediction_id`` names the answer; ``text`` (with ``group_id``) is given instead when the
    feedback is about a text that flywheel never answered. ``value`` is the label for ``correct``
    and ``label``, free text for ``comment``, a number as text for ``rate``, otherwise None.
    """

    feedback_id: str
    kind: FeedbackKind
    given_at: datetime
    rater_id: str
    source: str
    prediction_id: str | None = None
    text: str | None = field(default=None, repr=False)
    group_id: str | None = None
    value: str | None = field(default=None, repr=False)
    customer_id: str | None = None


@dataclass(frozen=True)
class Prediction:
    """One served answer. ``probabilities`` is label → probability in [0, 1], summing to 1."""

    prediction_id: str
    text: str = field(repr=False)
    group_id: str
    customer_id: str | None
    label: str
    probabilities: Mapping[str, float]
    model_version: str
    digest: str
    predicted_at: datetime


@dataclass(frozen=True)
class Reaction:
    """A feedback joined to the text it is about: what curation works on.

    ``predicted_label`` is the label that was served, None when the text was labelled directly.
    """

    feedback_id: str
    kind: FeedbackKind
    value: str | None
    text: str = field(repr=False)
    group_id: str
    rater_id: str
    source: str
    given_at: datetime
    predicted_label: str | None = None
    prediction_id: str | None = None
    customer_id: str | None = None


@dataclass(frozen=True)
class Example:
    """One text with the label to learn, and where the label came from.

    ``confidence`` is the share of raters that agree with ``label``, in (0, 1].
    ``feedback_ids`` are the reactions that made it, sorted.
    """

    example_id: str
    text: str = field(repr=False)
    label: str
    confidence: float
    group_id: str
    split: Split
    feedback_ids: tuple[str, ...]


@dataclass(frozen=True)
class Drop:
    """A reaction that curation left out, and why."""

    feedback_id: str
    reason: str


@dataclass(frozen=True)
class Curated:
    """The examples of a night, ordered by ``example_id``, and every reaction left out."""

    examples: tuple[Example, ...]
    drops: tuple[Drop, ...]


@dataclass(frozen=True)
class Snapshot:
    """A frozen, content-addressed set of examples on disk."""

    snapshot_id: str
    train: int
    validation: int
    exam: int


@dataclass(frozen=True)
class Report:
    """How one contender did on the exam.

    ``correct`` has one entry per exam row, in ``example_ids`` order, so that two reports on the
    same rows can be paired. ``accuracy``, ``macro_f1`` and ``calibration_error`` are in [0, 1]
    (error: 0 is perfect); ``log_loss`` is in nats; ``latency_ms`` is milliseconds per row.
    """

    digest: str
    example_ids: tuple[str, ...]
    correct: tuple[bool, ...]
    accuracy: float
    macro_f1: float
    log_loss: float
    calibration_error: float
    latency_ms: float
    per_class: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Reason:
    """One rule's finding: whether it passed, and the numbers it looked at, in words."""

    rule: str
    passed: bool | None
    detail: str


@dataclass(frozen=True)
class Verdict:
    """What the gate decided, and every reason for it. ``passed`` None means undecided."""

    decision: Decision
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class Trained:
    """What a finished training run says about itself."""

    adapter_dir: str
    digest: str
    train_examples: int
    train_seconds: float
    peak_memory_mb: float
    tokens_per_second: float
    final_loss: float


@dataclass(frozen=True)
class Ingested:
    """What became of every row that one ingest read: the four counts add up to ``read``."""

    read: int
    ingested: int
    duplicate: int
    quarantined: int
    parked: int
