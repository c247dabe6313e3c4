"""What goes over the wire. Unknown fields and wrong types are refused."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from flywheel.feedback import MAX_ID_CHARS
from flywheel.records import FeedbackKind


class Strict(BaseModel):
    """Takes what it names, of the right types, and nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Asked(Strict):
    """A text to answer."""

    text: str = Field(min_length=1)
    group_id: str | None = Field(default=None, min_length=1, max_length=MAX_ID_CHARS)
    """What must never straddle the exam. By default the customer, without one the text itself.

    With a customer's key the name is kept below that customer's.
    """
    customer_id: str | None = Field(default=None, min_length=1, max_length=MAX_ID_CHARS)
    """Taken from the key where keys are customers'."""
    segment: str | None = Field(default=None, min_length=1, max_length=MAX_ID_CHARS)
    """Chooses the version where ``serving.adapters.field`` says so; customers' keys cannot."""


class PredictRequest(Strict):
    """One text, or many as ``inputs``."""

    text: str | None = Field(default=None, min_length=1)
    group_id: str | None = Field(default=None, min_length=1, max_length=MAX_ID_CHARS)
    customer_id: str | None = Field(default=None, min_length=1, max_length=MAX_ID_CHARS)
    segment: str | None = Field(default=None, min_length=1, max_length=MAX_ID_CHARS)
    inputs: list[Asked] | None = Field(default=None, min_length=1)
    durable: bool | None = None
    """Whether to answer only once the answer is on the disk; by default as the use case says."""

    @model_validator(mode="after")
    def _one_or_many(self) -> Self:
        if (self.text is None) == (self.inputs is None):
            raise ValueError("give either text or inputs")
        if self.inputs is not None and (self.group_id or self.customer_id or self.segment):
            raise ValueError("with inputs, group_id, customer_id and segment stand in each of them")
        return self

    @property
    def asked(self) -> list[Asked]:
        if self.inputs is not None:
            return self.inputs
        return [
            Asked(
                text=self.text or "",
                group_id=self.group_id,
                customer_id=self.customer_id,
                segment=self.segment,
            )
        ]


class Answer(BaseModel):
    """An answer. ``confidence`` is the label's probability.

    Of a text-generation ``label`` is the text that was written, and its ``confidence`` 1: no chance
    of its being right is claimed.
    """

    prediction_id: str
    label: str
    confidence: float
    probabilities: dict[str, float]
    abstained: bool
    """Whether the model is less sure than the use case wants (``gate.abstain_below``)."""
    model_version: str
    digest: str
    unproven: bool = False
    """True while no version passed the gate and a challenger answers (``serving.unproven``)."""
    recorded: bool
    """False when the disk did not take it, so that feedback on it will not be understood."""


class Answers(BaseModel):
    """Answers to ``inputs``, in order."""

    answers: list[Answer]


class FeedbackRequest(Strict):
    """One person's reaction to an answer, or a label of a text."""

    kind: FeedbackKind
    prediction_id: str | None = None
    text: str | None = None
    group_id: str | None = None
    value: str | None = None
    rater_id: str | None = None
    """Who reacts; may be left out where keys are customers', whose names are all one rater."""
    customer_id: str | None = None
    feedback_id: str | None = Field(default=None, min_length=1, max_length=MAX_ID_CHARS)
    """Your key for this feedback: sent again, it is the same feedback."""
    given_at: str | None = None
    """ISO-8601 with a time zone; by default now."""


class FeedbackReceipt(BaseModel):
    """What was kept. A later feedback of the same rater on the same answer revises it."""

    feedback_id: str
    status: Literal["accepted", "known"]


class Health(BaseModel):
    """Whether the process works."""

    alive: bool


class Ready(BaseModel):
    """Whether requests are answered: what anybody may know."""

    ready: bool


class Standing(Ready):
    """Also by whom: what a customer may know."""

    model_version: str | None
    digest: str | None
    unproven: bool = False
    """Whether it is a challenger that no gate has let through (``serving.unproven``)."""
    labels: list[str]


class Readiness(Standing):
    """Also what becomes of other versions, and of what it stands on."""

    previous_version: str | None
    challenger_version: str | None
    adapter_versions: list[str]
    """Versions of customers or segments in memory, the one asked least recently first."""
    refused_versions: list[str]
    """Versions that were named and take no traffic; the log says why."""
    registry_ok: bool
    disk_ok: bool


class Refusal(BaseModel):
    """Why a request was refused."""

    detail: str | list[dict[str, str]]
