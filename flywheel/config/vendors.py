"""Bought models to compare with."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from flywheel.config.base import NAME_PATTERN, Section


class VendorConfig(Section):
    """An OpenAI-compatible endpoint that answers the same rows, for the choice to build or buy."""

    name: str = Field(pattern=NAME_PATTERN)
    """Name of the vendor here, for commands and reports."""
    url: str
    """The address before ``/chat/completions``: https, or http on this machine."""
    model: str = Field(min_length=1)
    """The model as the endpoint names it."""
    key_env: str | None = Field(default=None, pattern=r"^[A-Z][A-Z0-9_]*$")
    """The environment variable that holds the key. The key itself is never written anywhere."""
    input_price: float = Field(ge=0)
    """Price of a thousand tokens sent, in the currency of ``gate.machine_cost_per_hour``."""
    output_price: float = Field(ge=0)
    """Price of a thousand tokens received."""
    spend_cap: float = Field(ge=0)
    """The most that may ever be spent in this home. No request is sent that could pass it."""
    concurrency: int = Field(default=4, ge=1, le=64)
    """Requests at the same time."""
    timeout_s: float = Field(default=60, gt=0)
    """Time of one try, from the first byte sent to the last one received."""
    tries: int = Field(default=5, ge=1)
    """Tries for one row before it counts as not answered."""
    backoff_s: float = Field(default=1, gt=0)
    """The longest wait before the second try; doubled for each further one."""
    requests_per_minute: float | None = Field(default=None, gt=0)
    """The most requests in a minute. Unnamed: no limit."""
    max_output_tokens: int = Field(default=16, ge=1)
    """The most tokens of an answer: more than the longest label has. An answer that is cut off
    counts as abstained."""
    token_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """The endpoint's name for that limit."""
    temperature: float | None = Field(default=0, ge=0)
    """``null`` leaves it out, for endpoints that refuse it."""
    logprobs: bool = False
    """Ask for the likeliest tokens, and compute probabilities from them."""
    shots: list[Annotated[int, Field(ge=0, le=64)]] = Field(default=[0], min_length=1)
    """Training examples to show in each request. Of several numbers one is chosen, never on the
    holdout."""
    extra: dict[str, Any] = {}
    """Further fields of the request, such as ``reasoning_effort``."""

    @field_validator("url")
    @classmethod
    def _is_private(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("the url must hold no user, key, query or fragment")
        here = parts.hostname in {"localhost", "127.0.0.1", "::1"}
        if not parts.hostname or parts.scheme not in ({"https", "http"} if here else {"https"}):
            raise ValueError("the url must begin with https://, or http:// on this machine")
        return url.rstrip("/")

    @field_validator("extra")
    @classmethod
    def _leaves_ours_alone(cls, extra: dict[str, Any]) -> dict[str, Any]:
        ours = {"model", "messages", "stream", "n", "max_tokens", "max_completion_tokens"}
        ours |= {"temperature", "logprobs", "top_logprobs"}
        if taken := sorted(ours & set(extra)):
            raise ValueError(f"extra may not set {', '.join(taken)}")
        return extra
