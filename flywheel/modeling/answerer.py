"""What answers texts, whatever it was made by: what evaluation and service know of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

Probabilities = dict[str, float]


class Answerer(Protocol):
    """A loaded model that answers texts. A label outside the use case's cannot occur.

    What writes its answers gives each as the one key of its probabilities, at 1.
    """

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens that each text takes."""

    def answer(
        self, texts: Sequence[str], *, progress: Callable[[int, int], None] | None = None
    ) -> tuple[list[Probabilities], float]:
        """Probabilities per text, in order, and milliseconds per text.

        ``progress`` is called with (texts done, texts in all).
        """
