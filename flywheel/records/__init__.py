"""The small frozen records that travel between the parts of a night.

Times are timezone-aware UTC; texts are customers' data and never appear in a ``repr``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from flywheel.records.nights import NightRecord as NightRecord
from flywheel.records.nights import Outcome as Outcome
from flywheel.records.nights import Reason as Reason
from flywheel.records.trials import Contestant as Contestant
from flywheel.records.trials import EarlierTrial as EarlierTrial
from flywheel.records.trials import FreshRow as FreshRow
from flywheel.records.trials import Trial as Trial

FeedbackKind = Literal["accept", "reject", "correct", "rate", "comment", "label", "withdraw"]
FEEDBACK_KINDS: tuple[FeedbackKind, ...] = (
    "accept",
    "reject",
    "correct",
    "rate",
    "comment",
    "label",
    "withdraw",
)
Split = Literal["train", "validation", "holdout"]
Decision = Literal["promote", "reject", "undecided"]
Action = Literal[
    "promoted", "approved", "moved_by_hand", "rolled_back", "braked", "restored", "remeasured"
]


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
    """One served answer. ``probabilities`` is label → probability in [0, 1], summing to 1.

    A text that was written is its ``label``, and all of its ``probabilities``: no chance of its
    being right is claimed.
    """

    prediction_id: str
    text: str = field(repr=False)
    group_id: str
    customer_id: str | None
    label: str = field(repr=False)
    probabilities: Mapping[str, float] = field(repr=False)
    model_version: str
    digest: str
    predicted_at: datetime


@dataclass(frozen=True)
class Shadow:
    """What another version answered to the request of a `Prediction`; it was never shown."""

    prediction_id: str
    label: str = field(repr=False)
    probabilities: Mapping[str, float] = field(repr=False)
    model_version: str
    digest: str
    answered_at: datetime


@dataclass(frozen=True)
class Served:
    """An answer as it was recorded when it was given, ``shown`` to who asked or not.

    ``probabilities`` as in `Prediction`.
    """

    prediction_id: str
    digest: str
    shown: bool
    probabilities: Mapping[str, float] = field(repr=False)


@dataclass(frozen=True)
class Reaction:
    """A feedback joined to the text it is about: what curation works on.

    ``predicted_label`` is the label that was served, None when the text was labeled directly.
    ``customer_id`` is whose reaction it is (`flywheel.store.feedback.customers`), ``asked_by`` the
    customer whose request it is about, where there was one. ``arrived`` is its file's place in the
    order of arrival, which nobody but us decides; ``given_at`` is what was sent, unless that lies
    more than a day after its arrival.
    """

    feedback_id: str
    kind: FeedbackKind
    value: str | None = field(repr=False)
    text: str = field(repr=False)
    group_id: str
    rater_id: str
    source: str
    given_at: datetime
    predicted_label: str | None = field(default=None, repr=False)
    prediction_id: str | None = None
    customer_id: str | None = None
    asked_by: str | None = None
    arrived: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Example:
    """One text with the label to learn, and where the label came from.

    Of a generation ``label`` is the reference: the text that is wanted.

    ``label`` is None when all that is known is that it is none of ``excluded``, which is empty
    otherwise. ``confidence`` is the chance that ``label`` (or ``excluded``) is right, in (0, 1];
    ``weight`` is what the row counts for in training, in (0, 1]. ``feedback_ids`` are the
    reactions that made it, sorted; texts almost alike share a ``cluster_id``.
    """

    example_id: str
    text: str = field(repr=False)
    label: str | None = field(repr=False)
    confidence: float
    group_id: str
    split: Split
    feedback_ids: tuple[str, ...]
    weight: float = 1.0
    excluded: tuple[str, ...] = ()
    cluster_id: str = ""


@dataclass(frozen=True)
class Drop:
    """A reaction that curation left out, and why."""

    feedback_id: str
    reason: str


@dataclass(frozen=True)
class Step:
    """What one curation rule did: reactions (or texts) it saw, dropped, and changed or lowered.

    ``example`` is the feedback_id of one it dropped or changed, for ``flywheel lineage``.
    """

    rule: str
    on: bool
    seen: int = 0
    dropped: int = 0
    changed: int = 0
    detail: str = ""
    example: str | None = None


@dataclass(frozen=True)
class Suspect:
    """An example whose label is probably wrong: ``score`` is its out-of-fold probability."""

    example_id: str
    score: float


@dataclass(frozen=True)
class Curated:
    """The examples of a night, ordered by ``example_id``, and every reaction left out."""

    examples: tuple[Example, ...]
    drops: tuple[Drop, ...]
    steps: tuple[Step, ...] = ()
    suspects: tuple[Suspect, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """A frozen, content-addressed set of examples on disk."""

    snapshot_id: str
    train: int
    validation: int
    holdout: int


@dataclass(frozen=True)
class Overlap:
    """The words that written answers share with their references: ROUGE F-measures in [0, 1].

    Means over the holdout; ``rows`` is the ROUGE-L of each row.
    """

    rouge_1: float
    rouge_2: float
    rouge_l: float
    rows: tuple[float, ...]


@dataclass(frozen=True)
class Report:
    """How one contender did on the holdout.

    ``correct`` has one entry per holdout row, in ``example_ids`` order, so that two reports on the
    same rows can be paired; so have ``answered``, the label given, and ``confidence``, its
    probability in (0, 1]. ``accuracy``, ``macro_f1`` and ``calibration_error`` are in [0, 1]
    (error: 0 is perfect); ``log_loss`` is in nats; ``latency_ms`` is milliseconds per row.

    Where answers are written, ``overlap`` says how good they are, ``correct`` which are word for
    word a reference, and what speaks of labels is None or empty.
    """

    digest: str
    example_ids: tuple[str, ...]
    correct: tuple[bool, ...]
    accuracy: float
    macro_f1: float | None
    log_loss: float | None
    calibration_error: float | None
    latency_ms: float
    per_class: Mapping[str, Mapping[str, float]]
    answered: tuple[str, ...] = field(repr=False)
    confidence: tuple[float, ...]
    overlap: Overlap | None = None

    @property
    def row_scores(self) -> tuple[float, ...]:
        """What each row is worth, in [0, 1]: 1 for a right label, the ROUGE-L of a written text."""
        return self.overlap.rows if self.overlap else tuple(map(float, self.correct))

    @property
    def score(self) -> float:
        """The mean of its rows' scores: accuracy, or ROUGE-L."""
        return self.overlap.rouge_l if self.overlap else self.accuracy


@dataclass(frozen=True)
class Row:
    """A row that contenders are compared on, as the gate sees it: never its text.

    ``slices`` is kind of slice → the slice it is in. ``probability`` in (0, 1] is that of having
    been drawn for a label; None where every such row is labeled. Rows almost alike share a
    ``cluster_id``; empty where that is not known.
    """

    example_id: str
    label: str = field(repr=False)
    group_id: str
    source: str
    slices: Mapping[str, str] = field(default_factory=dict)
    probability: float | None = None
    cluster_id: str = ""


@dataclass(frozen=True)
class Contender:
    """What is known of a model beside its report: ``golden`` is golden row number → got it right.

    None where it was not measured.
    """

    report: Report | None
    golden: tuple[bool, ...] | None = None
    memory_mb: float | None = None
    adapter_mb: float | None = None
    disagreement: float | None = None
    """Share of the newest requests that it answers otherwise than the champion, in [0, 1]."""


@dataclass(frozen=True)
class Question:
    """A comparison that the ledger allows on the holdout: at level ``alpha``, the ``number``-th."""

    number: int
    alpha: float


@dataclass(frozen=True)
class Verdict:
    """What the gate decided, and every reason for it. ``passed`` None means undecided."""

    decision: Decision
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class Trained:
    """What a finished training run says about itself.

    ``train_examples`` are all that it learned from, those of its ancestors included.
    """

    adapter_dir: str
    digest: str
    train_examples: int
    train_seconds: float
    peak_memory_mb: float
    tokens_per_second: float
    final_loss: float
    validation_rows: int = 0
    validation_accuracy: float | None = None
    start: str = "the base"
    """What it started from, and why, in words."""
    parent: str | None = None
    """The digest of the version that it went on from, and that version's number."""
    parent_version: str | None = None
    ancestors: tuple[str, ...] = ()
    """The snapshots that its ancestors learned from."""
    new_examples: int | None = None
    """Of a training that went on: rows that no ancestor had seen, and rows learned again."""
    replayed_examples: int | None = None
    slate: tuple[tuple[str, float | None], ...] = ()
    """What was trained beside it and itself, in words, and how each did on validation rows."""
    numeric_type: str | None = None
    """What its base computed in; None for trainings from before that was recorded."""


@dataclass(frozen=True)
class Ingested:
    """What became of every row that one ingest read: the four counts add up to ``read``."""

    read: int
    ingested: int
    duplicate: int
    quarantined: int
    parked: int


@dataclass(frozen=True)
class Promotion:
    """One change of the champion; ``before`` is the version it replaced, None when there was none.

    ``action``: ``promoted`` by a verdict, ``approved`` by a person after one, ``moved_by_hand`` in
    MLflow, ``rolled_back`` by a person's command, ``braked`` by fresh rows, ``remeasured`` when a
    library changed and the same weights became a new version, ``restored`` after a change that
    could not stand.
    """

    at: datetime
    action: Action
    version: str
    digest: str
    before: str | None
    who: str
    why: str


@dataclass(frozen=True)
class Settled:
    """What one settling did: the changes of the champion it recorded, and what else to know."""

    promotions: tuple[Promotion, ...] = ()
    notes: tuple[str, ...] = ()
