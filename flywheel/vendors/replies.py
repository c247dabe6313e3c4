"""What an endpoint's answer says: one of the labels, or nothing; read strictly, never guessed.

A label counts whatever its case and with quotes, asterisks or a full stop around it; with any
other word beside it, it does not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flywheel.errors import DataError
from flywheel.records.answers import top

_AROUND = " \t\r\n\"'`*."
_MAX_MODEL_NAME = 200


@dataclass(frozen=True)
class Reply:
    """One answer as read. ``label`` None: abstained, for ``reason``.

    ``probabilities`` is label → [0, 1], summing to 1, in the labels' order; None where the endpoint
    gave none that fit its answer. ``tokens`` is (sent, received) as the endpoint counted them, None
    where it did not.
    """

    label: str | None
    reason: str | None
    probabilities: dict[str, float] | None
    tokens: tuple[int, int] | None
    served_model: str


def read(content: Mapping[str, Any], labels: Sequence[str]) -> Reply:
    """Read a chat completion.

    Raises:
        DataError: it is not one; that is no answer, and nobody abstained.
    """
    choices = content.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        raise DataError("The reply has no choices[0].message.")
    label, reason = _label(choice, message, labels)
    named = content.get("model")
    return Reply(
        label=label,
        reason=reason,
        probabilities=_probabilities(choice, label, labels) if label is not None else None,
        tokens=_tokens(content.get("usage")),
        served_model=named[:_MAX_MODEL_NAME] if isinstance(named, str) else "",
    )


def parse(said: str, labels: Sequence[str]) -> str | None:
    """The label that was said, None where it is none or could be two."""
    for form in (str, _plain):
        found = [label for label in labels if form(label) == form(said)]
        if len(found) == 1:
            return found[0]
    return None


def _label(
    choice: Mapping[str, Any], message: Mapping[str, Any], labels: Sequence[str]
) -> tuple[str | None, str | None]:
    said = message.get("content")
    if message.get("refusal"):
        return None, "refused"
    if choice.get("finish_reason") == "content_filter":
        return None, "filtered"
    if choice.get("finish_reason") == "length":
        return None, "cut off"
    if not isinstance(said, str) or not said.strip():
        return None, "empty"
    label = parse(said, labels)
    return label, None if label is not None else "not a label"


def _plain(said: str) -> str:
    return said.strip(_AROUND).casefold()


def _tokens(usage: object) -> tuple[int, int] | None:
    if not isinstance(usage, dict):
        return None
    sent, received = usage.get("prompt_tokens"), usage.get("completion_tokens")
    for count in (sent, received):
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            return None
    return (sent, received)  # type: ignore[return-value]  # both were just seen to be numbers


def _probabilities(
    choice: Mapping[str, Any], label: str, labels: Sequence[str]
) -> dict[str, float] | None:
    """Each label's probability, from the alternatives at each token of the answer.

    At the first token an alternative that begins exactly one label speaks for it; where several
    labels begin as the answer does, the next token decides between them. What speaks for no label,
    or for several and was not followed, is left out, and the rest is scaled to 1.
    """
    logprobs = choice.get("logprobs")
    steps = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(steps, list):
        return None
    mass = dict.fromkeys(labels, 0.0)
    said, chance = "", 1.0
    for step in steps:
        chosen = _token(step)
        if chosen is None:
            return None
        open_labels = _beginning(said, labels)
        seen = {token: p for token, p in map(_pair, _alternatives(step)) if token is not None}
        for token, p in {**seen, chosen[0]: math.exp(chosen[1])}.items():
            told = _beginning(said + token, open_labels)
            if len(told) == 1:
                mass[told[0]] += chance * p
        said, chance = said + chosen[0], chance * math.exp(chosen[1])
        if len(_beginning(said, labels)) <= 1:
            break
    total = math.fsum(mass.values())
    if not (math.isfinite(total) and total > 0 and top(mass) == label):
        return None
    return {name: value / total for name, value in mass.items()}


def _beginning(said: str, labels: Sequence[str]) -> list[str]:
    """The labels that could still become what is said so far; all while nothing is."""
    begun = said.lstrip(_AROUND).casefold()
    return [label for label in labels if _plain(label).startswith(begun)] if begun else [*labels]


def _alternatives(step: Mapping[str, Any]) -> list[Any]:
    top = step.get("top_logprobs")
    return top if isinstance(top, list) else []


def _pair(alternative: object) -> tuple[str | None, float]:
    found = _token(alternative)
    return (None, 0.0) if found is None else (found[0], math.exp(found[1]))


def _token(step: object) -> tuple[str, float] | None:
    """A token and its log probability, None where that is not what is there."""
    if not isinstance(step, dict):
        return None
    token, logprob = step.get("token"), step.get("logprob")
    if not isinstance(token, str) or isinstance(logprob, bool):
        return None
    if not isinstance(logprob, int | float) or not logprob <= 0:
        return None
    return token, float(logprob)
