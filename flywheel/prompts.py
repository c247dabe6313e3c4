"""The one place that turns an example into what the model reads."""

from __future__ import annotations

from flywheel.config import UseCase


def render(use_case: UseCase, text: str) -> str:
    """The prompt for one text; the label is the word that comes next."""
    return use_case.prompt.replace("{text}", " ".join(text.split()))


def label_words(use_case: UseCase) -> tuple[str, ...]:
    """Each label as the model would continue the prompt, in the use case's label order."""
    return tuple(f" {label}" for label in use_case.label_names)
