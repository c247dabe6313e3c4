"""The promotion gate over whole lives: how often it is ever wrong, and how long a gain waits.

    python -m benchmarks.gate --json --plot gate.svg
    python -m benchmarks.gate --write       # keeps gate.json, and its page and plot
    python -m benchmarks.gate --redraw      # the page and the plot again, from gate.json

README's table is `benchmarks.gate_report.summary` of gate.json, which
`tests/benchmarks/test_gate_page.py` checks.

Every policy plays the same simulated lives (`benchmarks.lives`), among them the gates that others
ship (`benchmarks.policies`). A promotion is wrong when the challenger is truly no better than its
champion. Seeds are fixed: the same lives and nights, the same numbers.

    lives, nights              how many, how long
    wrong_promotion_rate       share of lives with at least one wrong promotion; wrong_95: Wilson
    worse_promotion_rate       the same, without promotions of exactly equal challengers
    median_nights_to_promote   until the first promotion of a truly better one; null: most never
    promotions_per_life        of all kinds
    final_accuracy             true accuracy of the last champion, mean; the first has 85 %
    evidence                   worlds that feed the gate badly (`benchmarks.evidence`), with --json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import PAGES, evidence, gate_report
from benchmarks.lives import NEVER, SCENARIOS, SETTINGS, Nights, World
from benchmarks.policies import POLICIES, Policy, Rules, flywheel
from flywheel.stats.paired_tests import wilson_interval

LIVES, NIGHTS = 500, 365
HERE = Path(__file__).parent
KEPT = HERE / "gate.json"
CHOICES: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "a lost trial hands on nothing": {"hands_on": False},
    "trials share as n**-2": {"spending": lambda n: 6 / np.pi**2 * n**-2.0},
    "trials share as 1 / (n log(n + 1)**2)": {
        "spending": lambda n: 1 / (3.3877355 * n * np.log(n + 1.0) ** 2)
    },
    "trials share as 0.9**n": {"spending": lambda n: 0.1 * 0.9 ** (n - 1.0)},
    "holdout_share 0.25": {"holdout_share": 0.25},
    "holdout_share 0.75": {"holdout_share": 0.75},
    "no holdout": {"holdout_share": 1e-9},
    "no trials": {"holdout_share": 1 - 1e-9},
    "each challenger for itself": {"adds_up": False, "restart_growth": 0.5},
    "restart_growth 0": {"restart_growth": 0.0},
    "restart_growth 0.5": {"restart_growth": 0.5},
    "restart_growth 2": {"restart_growth": 2.0},
    "4 stakes": {"stakes": tuple(0.9 * 2.0**-step for step in range(4))},
    "8 stakes": {"stakes": tuple(0.9 * 2.0**-step for step in range(8))},
    "only questions count as told": {"tells_trials": False},
}


def live(
    policy: Policy, scenario: str, setting: str, *, lives: int, nights: int, rules: Rules | None
) -> Nights:
    """What a policy did in all lives of a scenario; the seed is the scenario's."""
    seed = 1 + list(SCENARIOS).index(scenario)
    world = World(SCENARIOS[scenario], SETTINGS[setting], lives=lives, seed=seed)
    return flywheel(world, nights, rules) if rules is not None else policy(world, nights)


def figures(done: Nights) -> dict[str, Any]:
    """The rates of one policy in one scenario."""
    lives = len(done.promotions)
    wrong = int(np.count_nonzero(done.worse + done.equal))
    waited = np.sort(np.where(done.first == NEVER, NEVER, done.first - done.starts))

    def quantile(share: float) -> int | None:
        at = int(waited[int(np.ceil(share * lives)) - 1])
        return None if at == NEVER else at

    return {
        "lives": lives,
        "wrong_promotion_rate": wrong / lives,
        "wrong_95": list(wilson_interval(wrong, lives)),
        "worse_promotion_rate": int(np.count_nonzero(done.worse)) / lives,
        "median_nights_to_promote": quantile(0.5),
        "nights_to_promote_90": quantile(0.9),
        "promoted_better_rate": float(np.mean(done.first != NEVER)),
        "promotions_per_life": float(done.promotions.mean()),
        "final_accuracy": float(done.final.mean()),
    }


def measure(
    *, lives: int, nights: int, policies: Sequence[str], scenarios: Sequence[str]
) -> list[dict[str, Any]]:
    """Every policy in every scenario, rows apart and in groups."""
    found = []
    for setting in ("rows", "groups"):
        for scenario in scenarios:
            for policy in policies:
                done = live(
                    POLICIES[policy], scenario, setting, lives=lives, nights=nights, rules=None
                )
                row = figures(done)
                found.append(
                    {"policy": policy, "scenario": scenario, "setting": setting, "nights": nights}
                    | row
                )
                print(
                    f"  {setting}, {scenario}: {policy} wrong in "
                    f"{row['wrong_promotion_rate']:.1%} of {lives} lives",
                    file=sys.stderr,
                )
    return found


def choices(*, lives: int, nights: int) -> list[dict[str, Any]]:
    """Ours with each of its parts as it could have been chosen otherwise."""
    found = []
    for name, changed in CHOICES.items():
        rules = replace(Rules(), **changed)
        row: dict[str, Any] = {"choice": name}
        played = [(s, c) for s in SETTINGS for c in ("equal", "better_5pt", "late_5pt")]
        for setting, scenario in (*played, ("rows", "adversarial")):
            done = live(flywheel, scenario, setting, lives=lives, nights=nights, rules=rules)
            row[f"{setting}.{scenario}"] = figures(done)
        found.append(row)
        print(f"  choice: {name}", file=sys.stderr)
    return found


def meanings() -> dict[str, str]:
    """What each policy does, as its first line says it."""
    return {
        name: (one.__doc__ or "").strip().partition("\n")[0].strip()
        for name, one in POLICIES.items()
    }


def publish(document: Mapping[str, Any]) -> None:
    """Write plot and page; README's table is printed, for its place is among other words."""
    gate_report.plot(document, PAGES / "gate.svg")
    (PAGES / "gate.md").write_text(gate_report.page(document))
    print(gate_report.summary(document["results"]), file=sys.stderr)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--lives", type=int, default=LIVES)
    parser.add_argument("--nights", type=int, default=NIGHTS)
    parser.add_argument("--quick", action="store_true", help="100 lives of 120 nights: to try it")
    parser.add_argument("--policy", choices=POLICIES, action="append", help="repeatable")
    parser.add_argument("--scenario", choices=SCENARIOS, action="append", help="repeatable")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--plot", type=Path, help="draw into this file (.svg or .png)")
    parser.add_argument("--choices", action="store_true", help="also ours, chosen otherwise")
    parser.add_argument("--write", action="store_true", help="keep the results, plot and page here")
    parser.add_argument("--redraw", action="store_true", help="plot and page from kept results")
    asked = parser.parse_args()
    if asked.redraw:
        publish(json.loads(KEPT.read_text()))
        return
    if asked.write and (asked.policy or asked.scenario):
        parser.error("--write takes all policies and scenarios")
    lives, nights = (100, 120) if asked.quick else (asked.lives, asked.nights)
    found = measure(
        lives=lives,
        nights=nights,
        policies=asked.policy or list(POLICIES),
        scenarios=asked.scenario or list(SCENARIOS),
    )
    document: dict[str, Any] = {
        "version": metadata.version("flywheel"),
        "policies": meanings(),
        "alpha": Rules().alpha,
        "nights": nights,
        "results": found,
    }
    if asked.choices or asked.write:
        document["choices"] = choices(lives=lives, nights=nights)
    if asked.plot:
        gate_report.plot(document, asked.plot)
    if asked.write:
        KEPT.write_text(json.dumps(document, indent=1) + "\n")
        publish(document)
    if asked.json:
        if not (asked.policy or asked.scenario):
            document["evidence"] = evidence.measure()
        print(json.dumps(document, indent=2))
    else:
        print(gate_report.table(found))


if __name__ == "__main__":
    main()
