"""What dishonest customers do to a trial on fresh rows, and what the trigger would need.

    python -m benchmarks.dishonest --json

A challenger that is exactly as good as its champion stands trial for NIGHTS nights. CUSTOMERS
customers bring rows on which one of both is right alone, half of them each; of the dishonest ones,
as many as a share says (one at least, where it is not 0), every row speaks for the challenger. A
honest customer brings ROWS rows a night, a dishonest one as many as count under
`gate.max_evidence_share`. The level is that of a first trial.

    without     share of lives in which a trial that leaves nobody out ever promotes
    shipped     the same with gate.dishonest_customers as shipped, 1
    enough      the same where as many are left out as are dishonest: at most the level
    needed      the wealth that must be asked for without leaving anybody out, so that 5 % of lives
                promote; the level of a first trial asks for 104
    nights      for a challenger that wins WINS of a hundred such rows and honest customers alone:
                median nights until it is promoted, where as many are left out; null: most never

Seeds are fixed: the same lives, the same numbers.
"""

from __future__ import annotations

import argparse
import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from flywheel.influence.quorum import most_units
from flywheel.stats.alpha_budget import trial_alpha
from flywheel.stats.e_process import STAKES

CUSTOMERS = (5, 20, 100)
SHARES = (0.0, 0.01, 0.05, 0.2)
NIGHTS, ROWS, LIVES, WINS = 14, 4, 1_000, 65
SHARE = 0.2
LEVEL = trial_alpha(1, carried=0.0, budget=0.025)
Array = npt.NDArray[np.float64]


def logs(
    customers: int, dishonest: int, *, wins: float, lives: int, rng: np.random.Generator
) -> Array:
    """Log wealth that each customer brings at each stake by each night: (stake, life, night, one).

    The dishonest come first.
    """
    most = most_units([10**6] * dishonest + [ROWS] * (customers - dishonest), 0, SHARE)
    # two dishonest ones are each other's second loudest: more than ten times the honest is not sent
    loud = min(most, 10 * ROWS) if dishonest else 0
    won = rng.binomial(ROWS, wins, size=(lives, NIGHTS, customers)).astype(float)
    lost = ROWS - won
    won[..., :dishonest], lost[..., :dishonest] = loud, 0
    each = [won * np.log1p(stake) + lost * np.log1p(-stake) for stake in STAKES]
    return np.cumsum(np.stack(each), axis=2)


def wealth(found: Array, left_out: int) -> Array:
    """Log wealth of each life, the greatest of all nights so far: (life, night)."""
    total = found.sum(axis=3)
    if left_out:
        most = -np.sort(-found, axis=3)[..., :left_out]
        total = total - np.maximum(most, 0).sum(axis=3)
    mean = np.logaddexp.reduce(total, axis=0) - math.log(len(STAKES))
    return np.maximum.accumulate(mean, axis=1)


def cell(customers: int, share: float, *, lives: int, seed: int) -> dict[str, Any]:
    """What a share of dishonest customers does among so many."""
    dishonest = math.ceil(share * customers)
    rng = np.random.default_rng([seed, customers, dishonest])
    equal = logs(customers, dishonest, wins=0.5, lives=lives, rng=rng)
    last = {left_out: wealth(equal, left_out)[:, -1] for left_out in {0, 1, dishonest}}
    limit = -math.log(LEVEL)
    better = logs(customers, 0, wins=WINS / 100, lives=lives, rng=rng)
    proven = wealth(better, max(1, dishonest)) >= limit
    first = np.where(proven.any(axis=1), proven.argmax(axis=1) + 1, NIGHTS + 1)
    median = float(np.median(first))
    return {
        "customers": customers,
        "dishonest": dishonest,
        "without": float((last[0] >= limit).mean()),
        "shipped": float((last[1] >= limit).mean()),
        "enough": float((last[dishonest] >= limit).mean()),
        "needed_log10": float(np.quantile(last[0], 0.95) / math.log(10)),
        "nights": None if median > NIGHTS else median,
    }


def measure(*, lives: int = LIVES, seed: int = 0) -> list[dict[str, Any]]:
    """Every number of customers with every share."""
    counts = {(c, math.ceil(s * c)): s for c in CUSTOMERS for s in reversed(SHARES)}
    return [cell(c, s, lives=lives, seed=seed) for (c, _), s in sorted(counts.items())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--lives", type=int, default=LIVES)
    asked = parser.parse_args()
    found = measure(lives=asked.lives)
    if asked.json:
        print(json.dumps(found))
        return
    for one in found:
        print(", ".join(f"{name} {value}" for name, value in one.items()))


if __name__ == "__main__":
    main()
