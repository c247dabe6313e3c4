"""A model's answer to one text."""

from __future__ import annotations

from collections.abc import Mapping

Answer = Mapping[str, float]
"""Label → probability; of a written answer the text → 1."""


def top(answer: Answer) -> str:
    """The likeliest label, or the text that was written; of equal ones the first."""
    return max(answer, key=answer.__getitem__)
