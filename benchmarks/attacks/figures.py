"""Means over seeds, with intervals at 95 %."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def interval(values: Sequence[float]) -> list[float]:
    """Student's interval of the mean of seeds; the mean itself where there is one seed."""
    from scipy.stats import t

    mean = float(np.mean(values))
    if len(values) < 2:
        return [mean, mean]
    half = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return [mean - half, mean + half]


def exact(share: float, count: int) -> list[float]:
    """Clopper and Pearson's interval of a share of ``count`` that either happened or did not."""
    from scipy.stats import beta

    hits = round(share * count)
    low = float(beta.ppf(0.025, hits, count - hits + 1)) if hits else 0.0
    high = float(beta.ppf(0.975, hits + 1, count - hits)) if hits < count else 1.0
    return [low, high]


def over_seeds(
    seeds: Sequence[dict[str, float]], *, counted: Sequence[str] = (), of_each: int = 1
) -> dict[str, dict[str, float]]:
    """Figure → mean, low, high; those called ``counted`` are shares of ``of_each`` events."""
    result = {}
    for name in seeds[0]:
        values = [one[name] for one in seeds]
        mean = float(np.mean(values))
        events = any(name.startswith(one) for one in counted)
        low, high = exact(mean, of_each * len(seeds)) if events else interval(values)
        result[name] = {"mean": mean, "low": low, "high": high}
    return result
