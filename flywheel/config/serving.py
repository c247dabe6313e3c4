"""How the service answers and takes feedback."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from flywheel.config.adapters import AdaptersConfig
from flywheel.config.base import Section

RuntimeSetting = Literal["auto", "torch", "openvino"]


class ServingConfig(Section):
    """How ``flywheel serve`` answers. Its keys are secrets, and come from the environment."""

    source: str = Field(default="app", min_length=1, max_length=512)
    """The ``source`` of the feedback that the service takes."""
    max_body_bytes: int = Field(default=1_000_000, ge=1_000)
    """Size of one request; a larger one is refused with 413."""
    max_texts: int = Field(default=256, ge=1)
    """The most texts in one request."""
    max_text_chars: int = Field(default=20_000, ge=1)
    """Length of one text; a longer one is refused with 422."""
    max_waiting: int = Field(default=512, ge=1)
    """Texts that may wait for the model; more are refused with 429 and a Retry-After."""
    max_batch_tokens: int = Field(default=1_024, ge=8)
    """Tokens of one pass of the model, padding included."""
    cached_answers: int = Field(default=10_000, ge=0)
    """Answers kept in memory, by caller, digest and text; 0 asks the model every time."""
    cache_mb: float = Field(default=64, gt=0)
    """Memory for the kept answers; the oldest go first."""
    texts_per_s: float | None = Field(default=None, ge=0)
    """Texts per second that one key may ask for, with a burst of ten seconds; more get 429.

    Unset: 200 for each key, and no limit where there are no keys. 0: no limit.
    """
    durable: bool = True
    """Answer once the prediction is on the disk; a request may ask otherwise."""
    disk_full: Literal["predict", "feedback"] = "predict"
    """What goes on when the disk is full: ``predict`` answers without recording, and feedback gets
    503; ``feedback`` takes feedback only."""
    reserve_mb: float = Field(default=200, ge=0)
    """With less free disk space no answer is recorded: the rest is kept for feedback."""
    inbox_mb: float = Field(default=2_000, gt=0)
    """How much may wait in the inbox for a night: so much of answers, and as much of feedback.

    Beyond it is as with a full disk: ``disk_full`` says whether answers are given unrecorded, and
    feedback gets 503 until a night has taken in what waits.
    """
    pictures_mb: float = Field(default=20_000, gt=0)
    """Disk space for pictures that requests bring; more are refused with 503.

    20,000 MB hold about 60,000 pictures.
    """
    segment_s: float = Field(default=30, gt=0)
    """How old a file of recorded answers and feedback gets before ingest may have it."""
    segment_mb: float = Field(default=16, gt=0)
    """How large a file of recorded answers and feedback gets before ingest may have it."""
    poll_s: float = Field(default=5, gt=0)
    """How often the service asks MLflow who is champion. MLflow's webhook may wake it earlier."""
    unproven: bool = False
    """While there is no champion, answer with the challenger that is best on its holdout, marked
    ``unproven``.

    It did not pass the gate. Use it to get reactions, and only where a wrong answer does little
    harm.
    """
    shadow_share: float = Field(default=0, ge=0, le=1)
    """Share of requests that the challenger answers, too; its answers are never shown."""
    canary_share: float = Field(default=0, ge=0, le=1)
    """Share of groups that the challenger answers in place of the champion, always the same groups.
    """
    adapters: AdaptersConfig = AdaptersConfig()
    """Own versions for some customers or segments."""
    runtime: RuntimeSetting = "torch"
    """What computes labels on a CPU, in nights, ``flywheel predict`` and the service alike.

    ``auto`` is ``openvino`` where that is installed, else ``torch``. Each model is then converted
    once, which takes a night longer. Written answers, and answers on a GPU, are torch's.
    ``FLYWHEEL_RUNTIME`` overrides it on a machine.
    """
    tracing: Literal["off", "mlflow"] = "off"
    """``mlflow`` shows each answer as a trace and each feedback as an assessment, without texts.

    Off, because under load it costs more than a tenth of the latency.
    ``python -m benchmarks.tracing``.
    """

    @field_validator("tracing", mode="before")
    @classmethod
    def _off(cls, given: Any) -> Any:
        # YAML reads a bare off as false
        return "off" if given is False else given

    @model_validator(mode="after")
    def _requests_fit(self) -> Self:
        if self.max_texts > self.max_waiting:
            raise ValueError("max_texts must not be more than max_waiting")
        return self
