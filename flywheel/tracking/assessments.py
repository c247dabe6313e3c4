"""Feedback as assessments of MLflow: what is said of an answer, without texts and names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from mlflow.entities import (
    Assessment,
    AssessmentSource,
    AssessmentSourceType,
    Expectation,
    Feedback,
)

from flywheel.records import FeedbackKind

FEEDBACK, PEOPLE = "flywheel.feedback", "flywheel.people"
"""Metadata of an assessment that is a feedback: its id, whose it is; as pseudonyms."""
ACCEPTED, LABEL, CORRECTED, RATING, COMMENTED = (
    "accepted", "label", "corrected", "rating", "commented",
)  # fmt: skip


@dataclass(frozen=True)
class Reaction:
    """A feedback as its trace shows it. ``value`` is None where it is a text.

    ``feedback``, ``rater`` and ``people`` (whose feedback it is: rater, customer, group) are
    pseudonyms.
    """

    prediction_id: str
    kind: FeedbackKind
    value: str | None
    feedback: str
    rater: str
    people: tuple[str, ...]


def assessments(reaction: Reaction) -> Iterator[Assessment]:
    """What a feedback says: of the answer, of the label that is right, or that it was said."""
    kind, value = reaction.kind, reaction.value
    if kind in ("accept", "reject", "correct"):
        yield _as(Feedback, reaction, ACCEPTED, kind == "accept")
    if kind in ("correct", "label"):
        if value is None:
            yield _as(Feedback, reaction, CORRECTED, True)
        else:
            yield _as(Expectation, reaction, LABEL, value)
    if kind == "rate" and value is not None:
        yield _as(Feedback, reaction, RATING, float(value))
    if kind == "comment":
        yield _as(Feedback, reaction, COMMENTED, True)


def _as(kind: Callable[..., Assessment], reaction: Reaction, name: str, value: Any) -> Assessment:
    return kind(
        name=name,
        value=value,
        source=AssessmentSource(AssessmentSourceType.HUMAN, reaction.rater),
        metadata={FEEDBACK: reaction.feedback, PEOPLE: " ".join(reaction.people)},
    )


def is_taken_back(one: Assessment, kind: FeedbackKind) -> bool:
    """Whether a feedback of ``kind`` deletes what its rater said before: MLflow has revisions of
    feedback, none of expectations.
    """
    if kind == "withdraw":
        return True
    return kind in ("accept", "reject", "correct", "label") and one.name in (LABEL, CORRECTED)


def said_by(one: Assessment, rater: str) -> bool:
    """Whether it is a feedback that a service of ours heard from a rater."""
    return one.source.source_id == rater and FEEDBACK in (one.metadata or {})


def people_of(one: Assessment) -> set[str]:
    """Whose feedback it is."""
    return set((one.metadata or {}).get(PEOPLE, "").split())
