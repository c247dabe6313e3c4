"""Worlds that feed the gate badly: rows that go together, near-copies, reactions that choose.

    python -m benchmarks.evidence       # python -m benchmarks.gate --json has the same

Every challenger is exactly as good as its champion, so that each promotion is wrong. What is real
here: the product's functions from a night's rows on: which texts count (`tasks.learned_rows`),
one bet of a group, design effect and weights (`flywheel.stats.e_process`), wealth
(`flywheel.influence.quorum`), and the levels of the trials (`flywheel.stats.alpha_budget`).
What is modelled: who is right about which row, who reacts, and that a trial ends after 14 nights or
when it is proven. No store, no model, no holdout; all rows are the company's own.

    design_effect     gate.unit: row; of groups of 12 rows three in ten go right or wrong as one
    near_copies       of a night's rows two fifths are written by 20 templates, for seven nights
    censored_audits   40 audits a night, drawn from all requests. Customers reacted to 50 % of right
                      and 10 % of wrong answers; no audit is dropped for that


``without`` is the same world with the part switched off: rows taken at their word, copies kept,
audits with a reaction dropped.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from flywheel.config import load_use_case
from flywheel.influence import quorum
from flywheel.records import Example, FreshRow
from flywheel.stats import alpha_budget
from flywheel.stats.e_process import Bet, group_bets
from flywheel.stats.paired_tests import wilson_interval
from tasks import learned_rows

BUDGET = 0.025
"""Half of ``gate.alpha``, as shipped: the other half is the holdout's."""
TRIAL_NIGHTS, DIFFERS = 14, 0.15
VOCABULARY = ["".join(word) for word in product("bdfklmnprstv", "aeiou", "nrst", "aeiou", "kmpz")]
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
CASE = load_use_case("product-reviews", folder=Path(__file__).parent.parent / "usecases")


def _fates(rng: np.random.Generator, number: int) -> list[int]:
    """1 where only the challenger is right, -1 the champion; as often the one as the other."""
    half = DIFFERS / 2
    return [int(one) for one in rng.choice([1, -1, 0], p=[half, half, 1 - DIFFERS], size=number)]


def _row(
    night: int, name: str, fate: int, *, group: str | None = None, probability: float | None = None
) -> FreshRow:
    at = FIRST + timedelta(days=night)
    return FreshRow(at, name, group or name, "gold", fate > 0, fate < 0, probability=probability)


def _trial_of_groups(rng: np.random.Generator) -> Iterator[list[FreshRow]]:
    """120 rows a night in groups of 12; the rows of three groups in ten share one fate."""
    for night in range(TRIAL_NIGHTS):
        fates = np.array(_fates(rng, 120)).reshape(10, 12)
        alike = rng.random(10) < 0.3
        fates[alike] = fates[alike, :1]
        yield [
            _row(night, f"{night}-{g}-{i}", int(fates[g, i]), group=f"{night}-{g}")
            for g in range(10)
            for i in range(12)
        ]


def _trial_of_copies(rng: np.random.Generator, *, kept: bool) -> Iterator[list[FreshRow]]:
    """60 rows a night, 24 of them written by 20 templates that stay for seven nights."""

    def words(number: int) -> str:
        return " ".join(VOCABULARY[at] for at in rng.integers(len(VOCABULARY), size=number))

    before: list[Example] = []
    for night in range(TRIAL_NIGHTS):
        if night % 7 == 0:
            templates, fates = [words(12) for _ in range(20)], _fates(rng, 20)
        came, fate = [], {}
        for number, own in enumerate(_fates(rng, 60)):
            which = int(rng.integers(20))
            of_template = number < 24
            text = f"{templates[which]} {words(1)}" if of_template else words(13)
            name = f"{night}-{number}"
            fate[name] = fates[which] if of_template else own
            came.append(Example(name, text, "positive", 1.0, name, "train", (name,)))
        if not kept:
            alike = learned_rows.almost_alike(CASE, came, before, came)
            new = [one for one in came if one.example_id not in alike]
            came = learned_rows.one_of_each(CASE, new, {})
        before += came
        yield [_row(night, one.example_id, fate[one.example_id]) for one in came]


def _trial_of_audits(rng: np.random.Generator, *, dropped: bool) -> Iterator[list[FreshRow]]:
    """40 audits of 1,000 requests; who is right alone decides whether a customer had reacted."""
    for night in range(TRIAL_NIGHTS):
        rows = []
        for number, fate in enumerate(_fates(rng, 40)):
            right = fate < 0 or (fate == 0 and rng.random() < 0.9)
            reacted = rng.random() < (0.5 if right else 0.1)
            if not (dropped and reacted):
                rows.append(_row(night, f"{night}-{number}", fate, probability=0.04))
        yield rows


def wrong(
    trial: Callable[[np.random.Generator], Iterator[list[FreshRow]]],
    bets: Callable[[Sequence[FreshRow]], list[Bet]],
    *,
    trials: int,
    seed: int,
) -> bool:
    """Whether a life of so many trials, one after another, ever promotes an equal challenger."""
    rng = np.random.default_rng(seed)
    carried = 0.0
    for number in range(1, trials + 1):
        level = alpha_budget.trial_alpha(number, carried=carried, budget=BUDGET)
        rows: list[FreshRow] = []
        wealth = 0.0
        for night in trial(rng):
            rows += night
            wealth = quorum.log_wealth(bets(rows), margin=0.0, quorum=quorum.SHIPPED)
            if wealth >= -math.log(level):
                return True
        carried = alpha_budget.handed_on(level, wealth)
    return False


def _at_their_word(rows: Sequence[FreshRow]) -> list[Bet]:
    return [Bet(float(row.challenger_right - row.champion_right)) for row in rows]


def _by_row(rows: Sequence[FreshRow]) -> list[Bet]:
    return group_bets(rows, by_row=True)


SCENARIOS: dict[str, tuple[tuple[Any, Any], tuple[Any, Any]]] = {
    "design_effect": ((_trial_of_groups, _by_row), (_trial_of_groups, _at_their_word)),
    "near_copies": (
        (partial(_trial_of_copies, kept=False), group_bets),
        (partial(_trial_of_copies, kept=True), group_bets),
    ),
    "censored_audits": (
        (partial(_trial_of_audits, dropped=False), group_bets),
        (partial(_trial_of_audits, dropped=True), group_bets),
    ),
}


def measure(*, lives: int = 20, trials: int = 1) -> dict[str, dict[str, Any]]:
    """Scenario → the share of lives with a wrong promotion, and the same ``without`` the part."""
    found = {}
    for name, (ours, without) in SCENARIOS.items():
        count = sum(wrong(*ours, trials=trials, seed=life) for life in range(lives))
        other = sum(wrong(*without, trials=trials, seed=life) for life in range(lives))
        found[name] = {
            "lives": lives,
            "nights": trials * TRIAL_NIGHTS,
            "wrong_promotion_rate": count / lives,
            "wrong_95": list(wilson_interval(count, lives)),
            "without": other / lives,
        }
    return found


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--lives", type=int, default=20)
    parser.add_argument("--trials", type=int, default=1, help="one after another, of 14 nights")
    asked = parser.parse_args()
    print(json.dumps(measure(lives=asked.lives, trials=asked.trials), indent=2))


if __name__ == "__main__":
    main()
