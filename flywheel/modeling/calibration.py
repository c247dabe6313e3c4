"""Probabilities that can be believed: one temperature for each model (Guo et al. 2017)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flywheel.modeling.answerer import Answerer

MIN_ROWS = 50
"""Fewer validation rows say too little: probabilities stay as they are."""
LOWEST, HIGHEST = 0.25, 8.0
_TINY = 1e-12


@dataclass(frozen=True)
class Calibrated:
    """An answerer whose log-probabilities are divided by ``temperature``. The order stays."""

    answerer: Answerer
    temperature: float

    def lengths(self, texts: Sequence[str]) -> list[int]:
        return self.answerer.lengths(texts)

    def answer(
        self, texts: Sequence[str], *, progress: Callable[[int, int], None] | None = None
    ) -> tuple[list[dict[str, float]], float]:
        answers, milliseconds = self.answerer.answer(texts, progress=progress)
        return [tempered(each, self.temperature) for each in answers], milliseconds


def tempered(answer: Mapping[str, float], temperature: float) -> dict[str, float]:
    """Probabilities at another temperature; one of 0 stays 0."""
    logs = {label: math.log(p) / temperature for label, p in answer.items() if p > 0}
    highest = max(logs.values())
    powers = {label: math.exp(value - highest) for label, value in logs.items()}
    total = sum(powers.values())
    return {label: powers.get(label, 0.0) / total for label in answer}


def temperature(answers: Sequence[Mapping[str, float]], labels: Sequence[str]) -> float:
    """The one in [LOWEST, HIGHEST] at which ``labels`` are likeliest; 1 where rows are too few."""
    from scipy.optimize import minimize_scalar

    if len(answers) < MIN_ROWS:
        return 1.0

    def loss(log_temperature: float) -> float:
        scale = math.exp(log_temperature)
        return -sum(
            math.log(max(tempered(answer, scale)[label], _TINY))
            for answer, label in zip(answers, labels, strict=True)
        )

    found = minimize_scalar(
        loss,
        bounds=(math.log(LOWEST), math.log(HIGHEST)),
        method="bounded",
        options={"xatol": 0.01},
    )
    return round(math.exp(float(found.x)), 3)
