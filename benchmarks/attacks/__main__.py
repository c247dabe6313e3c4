"""Run from the command line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import benchmarks.attacks as described
from benchmarks.attacks import (
    evidence,
    figures,
    flood,
    forgetting,
    nights,
    placement,
    poisoning,
    sybil,
)
from benchmarks.attacks.data import Data, load
from benchmarks.attacks.learners import qlora, tfidf
from benchmarks.attacks.nights import World
from flywheel.catalog.base_models import ensure_base
from flywheel.config import Home, load_use_case

Attack = Callable[[World, int, float], dict[str, float]]
SHARES = {"1": 0.01, "5": 0.05, "20": 0.2}
ATTACKS: dict[str, Attack] = {
    "sybil": sybil.sybil,
    "quiet": sybil.quiet,
    "placement": placement.placement,
    "chain": placement.chain,
    "evidence": evidence.evidence,
    "brake": evidence.brake,
    "flood": flood.flood,
    "audits": flood.audits,
    "queue": flood.queue,
    "forget": forgetting.forget,
    "first": forgetting.first,
}
BY_SHARE = {f"{name}_{share}": (name, SHARES[share]) for name in ATTACKS for share in SHARES}
TRIGGERS = tuple(f"trigger_{share}" for share in SHARES)
DEAR = (*(f"sybil_{share}" for share in SHARES), *TRIGGERS)
"""The scenarios that `--method qlora` runs unless others are named."""
SIZES = {"quick": (3, 200), "whole": (5, 1_500)}
"""Seeds and sentences."""


def measure(data: Data, seeds: int, texts: int, names: Sequence[str]) -> dict[str, Any]:
    """Run the scenarios named, each over the same seeds."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for seed in range(seeds):
        world = nights.world(data, seed, texts)
        for name in names:
            if name in BY_SHARE:
                attack, share = BY_SHARE[name]
                found[name].append(ATTACKS[attack](world, seed, share))
            else:
                found[name].append(poisoning.SCENARIOS[name](data, seed, texts))
            print(f"  seed {seed + 1} of {seeds}: {name}", file=sys.stderr, flush=True)
    return {name: summarise(name, of_seeds) for name, of_seeds in found.items()}


def summarise(name: str, seeds: Sequence[dict[str, float]]) -> dict[str, Any]:
    """A scenario's figures over its seeds."""
    if name not in BY_SHARE:
        gains = [poisoning.gains(one) for one in seeds] if name in TRIGGERS else []
        told = {"gains": figures.over_seeds(gains)} if gains else {}
        return {**poisoning.summarise(name, seeds), **told}
    lives = BY_SHARE[name][0] in ("evidence", "brake")
    counted = ("success",) if lives else ("refused", "promoted")
    each = evidence.LIVES if lives else 1
    return {"seeds": len(seeds), **figures.over_seeds(seeds, counted=counted, of_each=each)}


def show(name: str, found: dict[str, Any]) -> None:
    """A scenario's figures, a line each."""
    called = "recovered" if name == "random_30" else "share"
    if called in found:
        low, high = found[f"{called}_95"]
        print(f"{name:<18} {called} {found[called]:.2f} (95 % {low:.2f} to {high:.2f})")
    else:
        print(name)
    for key, value in {**found, **found.get("gains", {})}.items():
        if isinstance(value, float) and key != called:
            print(f"    {key:<24} {value:.3f}")
        elif isinstance(value, dict) and "mean" in value:
            mean, low, high = value["mean"], value["low"], value["high"]
            print(f"    {key:<24} {mean:6.3f} ({low:.3f} to {high:.3f})")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=(described.__doc__ or "").partition("\n")[0])
    every = [*poisoning.SCENARIOS, *BY_SHARE]
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--texts", type=int, help="sentences rated")
    parser.add_argument("--only", choices=every, action="append", help="a scenario; repeatable")
    parser.add_argument("--quick", action="store_true", help="attacks on a night, small")
    parser.add_argument("--method", choices=["tfidf", "qlora"], default="tfidf")
    parser.add_argument("--base", help="for qlora: a base, or a folder with one")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    asked = parser.parse_args(arguments)
    home = Home()
    learn = tfidf
    if asked.method == "qlora":
        case = load_use_case("product-reviews")
        base = Path(asked.base or "")
        if not (asked.base and base.is_dir()):
            base = ensure_base(asked.base or case.training.base, home)
        learn = qlora(case, base, lambda told: print(f"  {told}", file=sys.stderr, flush=True))
    seeds, texts = SIZES["quick" if asked.quick else "whole"]
    usual = DEAR if asked.method == "qlora" else [*TRIGGERS, *BY_SHARE] if asked.quick else every
    found = measure(
        load(home, learn), asked.seeds or seeds, asked.texts or texts, asked.only or list(usual)
    )
    if asked.json:
        print(json.dumps(found, indent=2))
        return
    for name, of_seeds in found.items():
        show(name, of_seeds)


if __name__ == "__main__":
    main()
