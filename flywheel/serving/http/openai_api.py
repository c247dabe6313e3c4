"""Written answers in the form of OpenAI's chat completions, for clients that speak it.

One completion, whole, by always taking the likeliest token. Its ``id`` is the prediction_id: what
people say of the answer goes to ``/feedback`` under it.
"""

from __future__ import annotations

import time
from typing import Literal

from pydantic import Field

from flywheel.config import UseCase
from flywheel.errors import DataError
from flywheel.ingestion.contract import MAX_ID_CHARS
from flywheel.serving.http.schemas import Answer, Asked, Given, Strict


class Message(Strict):
    """A turn of the talk. There is no system's: the prompt is the use case's."""

    role: Literal["user", "assistant"]
    """Who speaks."""
    content: str = Field(min_length=1)
    """What they say."""


class ChatRequest(Strict):
    """What is asked. What could change how an answer is written is refused, not passed over."""

    model: str
    """The name of the use case."""
    messages: list[Message] = Field(min_length=1)
    """One message, or a whole talk; the last one is the user's."""
    user: str | None = Field(default=None, min_length=1, max_length=MAX_ID_CHARS)
    """The customer; taken from the key where keys are customers'."""
    stream: Literal[False] = False
    """Nothing is streamed."""
    n: Literal[1] = 1
    """One answer only."""
    temperature: float = Field(default=0, ge=0, le=0)
    """The likeliest token is always taken."""


class Choice(Given):
    """The one completion."""

    index: int = 0
    """Always 0."""
    message: dict[Literal["role", "content"], str]
    """The answer, by ``assistant``."""
    finish_reason: Literal["stop"] = "stop"
    """Always ``stop``."""


class ChatCompletion(Given):
    """An answer; ``system_fingerprint`` is the digest of the model that wrote it."""

    id: str
    """The prediction_id, under which feedback comes back."""
    object: Literal["chat.completion"] = "chat.completion"
    """As OpenAI has it."""
    created: int
    """Seconds since 1970."""
    model: str
    """The name of the use case."""
    system_fingerprint: str
    """The digest of the version that answered."""
    choices: list[Choice]
    """One answer."""


def asked_of(request: ChatRequest, use_case: UseCase) -> Asked:
    """The text that the use case's prompt is filled with: the one message, or the whole talk.

    Raises:
        DataError: another use case is asked for, or no user speaks last.
    """
    if request.model != use_case.name:
        raise DataError(f"The model that is served here is {use_case.name}.", field="model")
    if request.messages[-1].role != "user":
        raise DataError("The last message must be the user's.", field="messages")
    if len(request.messages) == 1:
        return Asked(text=request.messages[0].content, customer_id=request.user)
    talk = "\n".join(f"{one.role}: {one.content}" for one in request.messages)
    return Asked(text=talk, customer_id=request.user)


def completion(answer: Answer, use_case: UseCase) -> ChatCompletion:
    """The answer as a completion."""
    return ChatCompletion(
        id=answer.prediction_id,
        created=int(time.time()),
        model=use_case.name,
        system_fingerprint=answer.digest,
        choices=[Choice(message={"role": "assistant", "content": answer.label})],
    )
