"""How far a model's own answers move when its holdout rows are batched otherwise, and how far
others'.

    flywheel turn && python -m benchmarks.served_noise --json

Asked of the champion of a home: its holdout answers against the same rows in random batches of the
size that verification asks for, and against the answers of every other version to the same rows.
`flywheel.tracking.measured_answers` takes its tolerances from this.

What it does not cover: other machines, GPUs, and bases.
"""

from __future__ import annotations

import argparse
import json
import random
from statistics import fmean

from flywheel.config import Home, load_use_case
from flywheel.dataset import snapshots
from flywheel.evaluation import rouge
from flywheel.modeling import methods
from flywheel.records.answers import top
from flywheel.store import open_store
from flywheel.store.nights import contender_scores
from flywheel.tracking.registry import CHAMPION, Registry

ROUNDS, SAMPLES = 2, 5_000
Answer = dict[str, float]


def measure(use_case_name: str, *, seed: int) -> dict[str, object]:
    """Largest difference of any probability of a row: worst row, mean, extreme sample means."""
    home, case = Home(), load_use_case(use_case_name)
    registry = Registry(home)
    champion = registry.by_alias(case.name, CHAMPION)
    assert champion is not None, "run flywheel turn first"
    rows = case.gate.verify_rows
    with open_store(home.warehouse, read_only=True) as store:
        measured = contender_scores.scores(store, case.name, champion.digest)
        others = {
            one.version: contender_scores.scores(store, case.name, one.tags["digest"])
            for one in registry.versions(case.name)
            if one.version != champion.version
        }
    holdout = [
        example
        for example in snapshots.read(home.snapshots, champion.snapshot_id)
        if example.split == "holdout" and example.example_id in measured
    ]
    reader = methods.load_on(case, home.models / case.training.base, champion.adapter_dir)
    chance = random.Random(seed)
    moved: list[float] = []
    for _ in range(ROUNDS):
        chance.shuffle(holdout)
        for start in range(0, len(holdout), rows):
            batch = holdout[start : start + rows]
            answers, _ = reader.answer([e.text for e in batch])
            moved += [
                distance(measured[e.example_id], a) for e, a in zip(batch, answers, strict=True)
            ]
    result: dict[str, object] = {
        "rows": len(holdout),
        "itself": {
            "worst": max(moved),
            "mean": fmean(moved),
            "greatest_sample_mean": max(sample_means(moved, rows, chance)),
        },
    }
    for version, theirs in others.items():
        shared = [distance(measured[i], theirs[i]) for i in sorted(theirs) if i in measured]
        if len(shared) >= rows:
            result[f"version {version}"] = {
                "mean": fmean(shared),
                "least_sample_mean": min(sample_means(shared, rows, chance)),
            }
    return result


def distance(one: Answer, other: Answer) -> float:
    """The most that any label's probability differs, in [0, 1]; of written answers, what they lack
    in likeness.
    """
    if len(one) == len(other) == 1:
        return 1 - rouge.likeness(top(one), top(other))
    return max(abs(one[label] - other[label]) for label in one)


def sample_means(values: list[float], size: int, chance: random.Random) -> list[float]:
    """Means of random samples of ``size`` rows."""
    return [fmean(chance.sample(values, size)) for _ in range(SAMPLES)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-u", "--use-case", default="product-reviews")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    result = measure(given.use_case, seed=given.seed)
    print(json.dumps(result) if given.json else json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
