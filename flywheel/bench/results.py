"""What the cells of a benchmark say together: means with intervals, and who leads where.

The holdout is the same in every cell, so that an interval over seeds speaks of the draw of training
rows and of the training itself; what the holdout's size adds is the same for all and is told apart.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

CONFIDENCE = 0.95
HOUR_S = 3_600
ACCURACY, ROUGE_L = "accuracy", "ROUGE-L"


@dataclass(frozen=True)
class Result:
    """One cell: an entrant trained on ``rows`` rows of draw ``seed``, and scored on the holdout.

    Shares are in [0, 1], ``log_loss`` is in nats. Where answers are written, ``rouge_l`` says how
    good they are, ``accuracy`` how many are word for word a reference, and what speaks of labels is
    None. ``train_seconds`` covers all settings that were
    tried; ``train_memory_mb`` is the training process's peak. ``answer_ms`` is per text asked
    alone, ``answers_per_s`` what was reached with all texts at once.
    """

    entrant: str
    method: str
    base: str | None
    rows: int
    seed: int
    accuracy: float
    macro_f1: float | None
    log_loss: float | None
    calibration_error: float | None
    validation_accuracy: float | None
    setting: Mapping[str, Any]
    train_seconds: float
    train_memory_mb: float
    answer_ms: float
    answers_per_s: float
    weights_mb: float
    holdout_rows: int
    rouge_l: float | None = None

    @property
    def score(self) -> float:
        """What entrants are compared by: ROUGE-L where answers are written, else accuracy."""
        return self.accuracy if self.rouge_l is None else self.rouge_l

    @property
    def measure(self) -> str:
        """What ``score`` is, in words."""
        return ACCURACY if self.rouge_l is None else ROUGE_L


@dataclass(frozen=True)
class Mean:
    """A mean over ``seeds`` draws, and its interval at 95 %; None with fewer than two."""

    mean: float
    low: float | None
    high: float | None
    seeds: int


@dataclass(frozen=True)
class Row:
    """An entrant at one number of training rows."""

    entrant: str
    method: str
    base: str | None
    rows: int
    accuracy: Mean
    """Of ``measure``, by which entrants are compared."""
    macro_f1: Mean | None
    calibration_error: Mean | None
    train_seconds: float
    """The least over the seeds, as are the other times: what disturbs a machine only adds."""
    train_memory_mb: float
    answer_ms: float
    answers_per_s: float
    weights_mb: float
    measure: str = ACCURACY

    def answers_price(self, per_hour: float | None) -> float | None:
        """Of a thousand answers on a machine that is busy all the time, at the rate reached."""
        return None if per_hour is None else per_hour * 1_000 / (self.answers_per_s * HOUR_S)

    def training_price(self, per_hour: float | None) -> float | None:
        """Of one training, every setting that was tried included."""
        return None if per_hour is None else per_hour * self.train_seconds / HOUR_S


@dataclass(frozen=True)
class Lead:
    """Of two entrants at one number of rows, by how much the first is ahead, seed by seed."""

    rows: int
    gain: Mean

    @property
    def shown(self) -> bool:
        """Whether the interval leaves out zero."""
        low, high = self.gain.low, self.gain.high
        return low is not None and high is not None and (low > 0 or high < 0)


def mean_of(values: Sequence[float]) -> Mean:
    """Mean and Student's interval over draws."""
    from scipy.stats import t

    count = len(values)
    middle = fmean(values)
    if count < 2:
        return Mean(middle, None, None, count)
    reach = float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * stdev(values) / math.sqrt(count)
    return Mean(middle, middle - reach, middle + reach, count)


def table(results: Iterable[Result]) -> list[Row]:
    """One row for each entrant and number of rows, in the order in which they first came."""
    groups: dict[tuple[str, int], list[Result]] = defaultdict(list)
    for result in results:
        groups[result.entrant, result.rows].append(result)
    return [
        Row(
            entrant=name,
            method=cells[0].method,
            base=cells[0].base,
            rows=rows,
            accuracy=mean_of([c.score for c in cells]),
            macro_f1=_mean_where_known([c.macro_f1 for c in cells]),
            calibration_error=_mean_where_known([c.calibration_error for c in cells]),
            train_seconds=min(c.train_seconds for c in cells),
            train_memory_mb=max(c.train_memory_mb for c in cells),
            answer_ms=min(c.answer_ms for c in cells),
            answers_per_s=max(c.answers_per_s for c in cells),
            weights_mb=cells[0].weights_mb,
            measure=cells[0].measure,
        )
        for (name, rows), cells in groups.items()
    ]


def _mean_where_known(values: Sequence[float | None]) -> Mean | None:
    known = [value for value in values if value is not None]
    return mean_of(known) if len(known) == len(values) else None


def leads(results: Sequence[Result], first: str, second: str) -> list[Lead]:
    """By how much the score of ``first`` is ahead of that of ``second``, on the same draws.

    What was asked without training rows is compared with every draw of the other.
    """
    by_cell = {(r.entrant, r.rows, r.seed): r.score for r in results}
    found: dict[int, list[float]] = defaultdict(list)
    for name, rows, seed in by_cell:
        if rows == 0 or name not in (first, second):
            continue
        pair = [by_cell.get((who, rows, seed), by_cell.get((who, 0, 0))) for who in (first, second)]
        other = second if name == first else first
        if name == second and (other, rows, seed) in by_cell:
            continue  # counted from the other side
        if pair[0] is not None and pair[1] is not None:
            found[rows].append(pair[0] - pair[1])
    return [Lead(rows, mean_of(gains)) for rows, gains in sorted(found.items())]


def crossover(results: Sequence[Result], first: str, second: str) -> str:
    """In one sentence: where which of the two is ahead, as far as the draws show it."""
    shown = leads(results, first, second)
    if not shown:
        return f"{first} and {second} were not trained on the same rows."
    if max(one.gain.seeds for one in shown) < 2:
        return f"{first} against {second}: one draw only, which shows nothing."
    ahead = [one.rows for one in shown if one.shown and one.gain.mean > 0]
    behind = [one.rows for one in shown if one.shown and one.gain.mean < 0]
    said = []
    if ahead:
        said.append(f"{first} wins with {_list(ahead)} labels")
    if behind:
        said.append(f"{second} wins with {_list(behind)} labels")
    open_ = [one.rows for one in shown if not one.shown]
    if open_:
        said.append(f"no difference is shown with {_list(open_)}")
    return f"{first} against {second}: {'; '.join(said)}."


def holdout_error(results: Sequence[Result]) -> float:
    """Half of the 95 % interval that the holdout's size alone gives an accuracy, at its widest."""
    rows = max((r.holdout_rows for r in results), default=0)
    return 1.96 * math.sqrt(0.25 / rows) if rows else math.nan


def _list(values: Sequence[int]) -> str:
    return (
        ", ".join(str(v) for v in values[:-1])
        + (" and " if len(values) > 1 else "")
        + str(values[-1])
    )
