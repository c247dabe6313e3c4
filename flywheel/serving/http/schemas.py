"""What goes over the wire. Unknown fields and wrong types are refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from flywheel.ingestion.contract import MAX_ID_CHARS, RULES, Form
from flywheel.modeling.compiled.runtime import Runtime
from flywheel.records import FEEDBACK_KINDS


class Strict(BaseModel):
    """Takes what it names, of the right types, and nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class Given(BaseModel):
    """What is sent back."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class Asked(Strict):
    """A text to answer."""

    text: str = Field(min_length=1)
    """The input; where inputs are pictures, a ``data:`` URL or an address in the home."""
    group_id: str | None = Field(default=None, min_length=1, max_length=MAX_ID_CHARS)
    """What stays on one side of the split. By default the customer, without one the text itself.

    With a customer's key the name is kept below that customer's.
    """
    customer_id: str | None = Field(default=None, min_length=1, max_length=MAX_ID_CHARS)
    """Taken from the key where keys are customers'."""
    segment: str | None = Field(default=None, min_length=1, max_length=MAX_ID_CHARS)
    """Chooses the version where ``serving.adapters.field`` says so; customers' keys cannot."""


class PredictRequest(Strict):
    """One text, or many as ``inputs``."""

    text: str | None = Field(default=None, min_length=1)
    """The input, where there is one only."""
    group_id: str | None = Field(default=None, min_length=1, max_length=MAX_ID_CHARS)
    """As in `Asked`."""
    customer_id: str | None = Field(default=None, min_length=1, max_length=MAX_ID_CHARS)
    """As in `Asked`."""
    segment: str | None = Field(default=None, min_length=1, max_length=MAX_ID_CHARS)
    """As in `Asked`."""
    inputs: list[Asked] | None = Field(default=None, min_length=1)
    """Many inputs, answered in this order."""
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


class Answer(Given):
    """An answer. ``confidence`` is the label's probability.

    Of a text-generation ``label`` is the text that was written, and its ``confidence`` 1: no chance
    of its being right is claimed.
    """

    prediction_id: str
    """Under this id feedback comes back."""
    label: str
    """The likeliest label, or the text that was written."""
    confidence: float
    """Probability of the label, in [0, 1]."""
    probabilities: dict[str, float]
    """Label to probability; they add up to 1."""
    abstained: bool
    """Whether the model is less sure than the use case wants (``gate.abstain_below``)."""
    model_version: str
    """Number of the version in MLflow."""
    digest: str
    """Hash of all that decides the answer: base, adapter, prompt, labels, libraries."""
    unproven: bool = False
    """True while no version passed the gate and a challenger answers (``serving.unproven``)."""
    recorded: bool
    """False when the disk did not take it, so that feedback on it will not be understood."""


class Answers(Given):
    """Answers to ``inputs``, in order."""

    answers: list[Answer]
    """One for each input."""


_TEXT = {"type": "string"}
_FORMS: dict[Form, list[dict[str, Any]]] = {
    "identifier": [{**_TEXT, "maxLength": MAX_ID_CHARS}],
    "kind": [{**_TEXT, "enum": [*FEEDBACK_KINDS]}],
    "moment": [{**_TEXT, "format": "date-time"}],
    "text": [_TEXT],
    "value": [_TEXT, {"type": "number"}, {"type": "boolean"}],
}
_SCHEMAS = {rule.name: {"anyOf": [*_FORMS[rule.form], {"type": "null"}]} for rule in RULES}


class FeedbackRequest(Strict):
    """One person's reaction to an answer, or a label of a text.

    A field is taken or refused as in a feedback file, for the same reason.
    """

    model_config = ConfigDict(json_schema_extra={"required": ["kind"]})

    kind: Annotated[Any, WithJsonSchema(_FORMS["kind"][0])] = None
    """What the person does."""
    prediction_id: Annotated[Any, WithJsonSchema(_SCHEMAS["prediction_id"])] = None
    """The answer that it is about."""
    text: Annotated[Any, WithJsonSchema(_SCHEMAS["text"])] = None
    """For ``label`` without an answer: the input."""
    group_id: Annotated[Any, WithJsonSchema(_SCHEMAS["group_id"])] = None
    """For ``label`` without an answer: as in `Asked`."""
    value: Annotated[Any, WithJsonSchema(_SCHEMAS["value"])] = None
    """The right label or text, for ``correct`` and ``label``; a rating or a comment."""
    rater_id: Annotated[Any, WithJsonSchema(_SCHEMAS["rater_id"])] = None
    """Who reacts; may be left out where keys are customers', whose names are all one rater."""
    customer_id: Annotated[Any, WithJsonSchema(_SCHEMAS["customer_id"])] = None
    """Whose feedback it is. Taken from the key where keys are customers'."""
    feedback_id: Annotated[Any, WithJsonSchema(_SCHEMAS["feedback_id"])] = None
    """Your key for this feedback: sent again, it is the same feedback."""
    given_at: Annotated[Any, WithJsonSchema(_SCHEMAS["given_at"])] = None
    """ISO-8601 with a time zone; by default now."""


class FeedbackReceipt(Given):
    """What was kept. A later feedback of the same rater on the same answer revises it."""

    feedback_id: str
    """The id that was sent, or one made for it."""
    status: Literal["accepted", "known"]
    """``known``: it was sent before, and nothing changed."""


class Health(Given):
    """Whether the process works."""

    alive: bool
    """Whether the service's own tasks still run."""


class Ready(Given):
    """Whether requests are answered: what anybody may know."""

    ready: bool
    """Whether requests are answered now."""


class Standing(Ready):
    """Also by whom: what a customer may know."""

    model_version: str | None
    """Number of the version that answers."""
    digest: str | None
    """Its digest."""
    unproven: bool = False
    """Whether it is a challenger that no gate has let through (``serving.unproven``)."""
    labels: list[str]
    """The labels it may answer; empty for written answers."""


class Readiness(Standing):
    """Also what becomes of other versions, and of what it stands on."""

    runtime: Runtime | None
    """What computes the answers (``serving.runtime``)."""
    previous_version: str | None
    """The version before, still in memory, so that going back loads nothing."""
    challenger_version: str | None
    """The challenger, where shadow or canary ask it."""
    adapter_versions: list[str]
    """Versions of customers or segments in memory, the one asked least recently first."""
    refused_versions: list[str]
    """Versions that were named and take no traffic; the log says why."""
    registry_ok: bool
    """Whether MLflow answered when it was last asked."""
    disk_ok: bool
    """Whether the disk took the last record."""


class Refusal(Given):
    """Why a request was refused."""

    detail: str | list[dict[str, str]]
    """The reason; for 422 a list of fields and the rules that they break."""
