"""Evidence: dishonest customers say on fresh rows what speaks for one contender.

    evidence     a challenger exactly as good as its champion stands trial for as many nights as one
                 may; every row of the dishonest speaks for it. ``success``: lives in which it is
                 proven better, and its gain is not one customer's alone
    brake        a predecessor exactly as good as its champion is watched; every row of the
                 dishonest speaks for it. ``success``: lives in which the champion is taken back

An honest customer brings `ROWS` row a night on which one of both is right alone, half of them each;
a dishonest one `LOUD` times as many. The level is that of a first trial, or the brake's. Without
the defence: nobody is left out, none needed, no share of a night, no question whose gain it is.
``asked``: with `gate.dishonest_share: 0.2`, which is not the default.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta

from benchmarks.attacks.data import RATERS, START, dishonest
from benchmarks.attacks.nights import World
from flywheel.config import GateConfig, UseCase
from flywheel.gate import comparison, rules, trial_progress
from flywheel.influence.quorum import Quorum
from flywheel.records.trials import FreshRow, Trial
from flywheel.stats import alpha_budget
from tasks.evidence_shares import within_shares

LIVES = 10
ROWS = 1
LOUD = 10
OFF = {
    "min_evidence_customers": 1,
    "max_evidence_share": 1.0,
    "dishonest_customers": 0,
    "leave_one_out": False,
}
SHARE = {"dishonest_share": 0.2}


def evidence(world: World, seed: int, share: float) -> dict[str, float]:
    """Wrong promotions."""
    case = world.data.case
    limits = case.gate
    level = alpha_budget.trial_alpha(
        1, carried=0.0, budget=limits.alpha * (1 - limits.holdout_share)
    )
    return _in_lives(case, seed, share, nights=limits.max_trial_nights, level=level)


def brake(world: World, seed: int, share: float) -> dict[str, float]:
    """Champions taken back, where the use case says ``brake: rollback``."""
    case = world.data.case
    unasked = {"leave_one_out": False}
    return _in_lives(
        with_gate(case, unasked),
        seed,
        share,
        nights=case.gate.brake_nights,
        level=case.gate.brake_alpha,
    )


def _in_lives(
    case: UseCase, seed: int, share: float, *, nights: int, level: float
) -> dict[str, float]:
    rng = random.Random(f"{seed} {share} {nights}")
    won = {"success": 0, "success_without": 0, "success_asked": 0}
    for _ in range(LIVES):
        rows = [fresh_rows(rng, dishonest(share), number) for number in range(nights)]
        for name, changes in zip(won, ({}, OFF, SHARE), strict=True):
            won[name] += proven(with_gate(case, changes), rows, level)
    return {name: count / LIVES for name, count in won.items()}


def with_gate(case: UseCase, changes: dict[str, object]) -> UseCase:
    return case.model_copy(update={"gate": case.gate.model_copy(update=changes)})


def fresh_rows(rng: random.Random, liars: int, number: int) -> list[FreshRow]:
    """One night's rows; in an honest row either is right alone with equal chance."""
    rows = []
    for customer in range(RATERS):
        for row in range(ROWS * LOUD if customer < liars else ROWS):
            wins = customer < liars or rng.random() < 0.5
            name = f"{number}-{customer}-{row}"
            rows.append(
                FreshRow(
                    START + timedelta(days=number),
                    name,
                    name,
                    "app",
                    challenger_right=wins,
                    champion_right=not wins,
                    customers=(f"customer-{customer}",),
                )
            )
    return rows


def proven(case: UseCase, nights: Sequence[Sequence[FreshRow]], level: float) -> bool:
    """Whether a trial on the rows of these nights is won, as the gate tells."""
    kept = [row for rows in nights for row in within_shares(case, rows, at=rows[0].as_of)]
    trial = Trial.of(1, level, kept)
    stands = _stands(trial, case.gate)
    if not stands:
        return False
    found = rules.leave_one_out(comparison.on_fresh_rows(trial), case.gate, proven=True)
    return found.passed is not False


def _stands(trial: Trial, limits: GateConfig) -> bool:
    found = trial_progress.progress(
        trial, margin=limits.margin, by_row=limits.unit == "row", quorum=Quorum.of(limits)
    )
    return found.proven
