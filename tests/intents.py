"""A small world without a base: TF-IDF learns what words tell the intents apart, in a moment."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from flywheel.config import Home, UseCase
from tests.nights import AS_OF

ODD = (
    *("Refund: yes/no", "C++", "a, b", '50% "off"', "<b>VIP</b>", "🚚 late", "naïve façade"),
    *("line\nbreak", "{text}", "#hash", "- dash", "x" * 240, "n/a", "ملاحظة", "a//b", "end/"),
    *("..", "null", "yes", "Billing", "billing", "| pipe |", "'", "*", "&amp;"),
)
"""Labels out of drop-downs, in the order in which they stand there."""
PLAIN = ("refund", "card lost", "address")


def case_of(labels: Iterable[str], **changes: Any) -> UseCase:
    """A use case whose nights take a moment each; ``changes`` are sections' settings."""
    content: dict[str, Any] = {
        "name": "intents",
        "kind": "text-classification",
        "description": "What is this message about? Invented sentences.",
        "labels": {label: f"about {label}" for label in labels},
        "prompt": "Message: {text}\nIntent:",
        "split": {"salt": "intents-1", "holdout": 0.4, "validation": 0.1},
        "curation": {
            "gold_sources": ["gold"],
            "train_on_gold": True,
            "near_duplicates": 1,
            "max_customer_share": 1,
            "poison": False,
        },
        "training": {"method": "tfidf", "min_examples": 10},
        "gate": {
            "min_holdout_examples": 20,
            "min_accuracy": 0.5,
            "max_calibration_error": 1.0,
            "brake": "warn",
        },
    }
    for section, values in changes.items():
        content[section] = {**content[section], **values} if isinstance(values, dict) else values
    return UseCase.model_validate(content)


def word(label: str, topic: int = 0) -> str:
    """A word that tells a label: labels themselves may hold no word at all."""
    return f"word{_hash(label, topic)}"


def rows(labels: Iterable[str], *, each: int = 12, day: int = 0, topic: int = 0) -> list[Any]:
    """Gold labels: ``each`` texts of every label, by customers of the day.

    Who learned of one ``topic`` does not know the words of another.
    """
    found = []
    for label in labels:
        for number in range(each):
            name = _hash(label, day, number)
            found.append(
                {
                    "feedback_id": f"gold-{name}",
                    "kind": "label",
                    "text": f"message {name} says {word(label, topic)}",
                    "value": label,
                    "group_id": f"customer-{name}",
                    "rater_id": "ann",
                    "source": "gold",
                    "given_at": AS_OF.isoformat(),
                }
            )
    return found


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:8]


def drop(home: Home, name: str, found: list[Any]) -> None:
    """Put a feedback file into the inbox."""
    inbox = home.inbox("intents")
    inbox.mkdir(parents=True, exist_ok=True)
    (inbox / name).write_text("".join(json.dumps(row) + "\n" for row in found))
