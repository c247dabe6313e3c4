"""An invented use case whose answers are written, and a tiny base that can learn to write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flywheel.config import UseCase
from tests.nights import SECRET
from tests.tiny import CHAT, make_tiny_base

WORDS = (
    "ann", "ben", "asks", "says", "order", "number", "is", "broke", "works", "please", "repair",
    "thanks", "wants", "a", "the", "happy", "with", "it", "sum", "up", ",", ".", "lost", "late",
    "another", "hurry", "must"
)  # fmt: skip
TOPICS = (
    {"broke": "ann wants a repair .", "works": "ann is happy with it ."},
    {"lost": "ben says please another order .", "late": "the number must hurry ."},
)
"""The word of a text that tells what its summary says: the second topic comes later."""


def written_case(**changes: Any) -> UseCase:
    """The use case; ``changes`` are of its ``training``."""
    return UseCase.model_validate(
        {
            "name": "tiny-notes",
            "kind": "text-generation",
            "description": "What does the customer want? Invented talks.",
            "prompt": "sum up: {text}",
            "split": {"salt": "tiny-1", "holdout": 0.4, "validation": 0},
            # the texts differ in a number only
            "curation": {"gold_sources": ["gold"], "near_duplicates": 1, "max_customer_share": 1},
            "training": {
                "base": "tiny",
                "min_examples": 20,
                "epochs": 20,
                "min_steps": 0,
                "batch_size": 8,
                "learning_rate": 1e-2,
                "lora_rank": 4,
                "lora_alpha": 8,
                "max_length_tokens": 32,
                "max_new_tokens": 10,
                **changes,
            },
            "gate": {"min_holdout_examples": 20, "min_rouge_l": 0.3},
        }
    )


def make_tiny_writer(folder: Path, *, chat: bool = True) -> Path:
    """A base of random weights that knows the words, with a chat template or without."""
    return make_tiny_base(
        folder, labels=(), words=WORDS, chat=CHAT if chat else None, end="<end>", spread=0.2
    )


def talk(number: int, topic: int = 0) -> tuple[str, str]:
    """A text and its reference."""
    word, reference = list(TOPICS[topic].items())[number % 2]
    return f"ann says the {SECRET} of order {number} {word}\nben says thanks", reference
