"""What is asked in each night, by whom, and what the company begins with."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from flywheel.config import SplitConfig
from flywheel.dataset import splits
from flywheel.replay.texts import Said, Source
from flywheel.replay.worlds import COPIED, TEMPLATES, Stratum, World


@dataclass(frozen=True)
class Asked:
    """One request. ``goal`` is what an attacker will call right; None: an honest customer."""

    said: Said
    customer: str
    goal: str | None = None


@dataclass(frozen=True)
class Traffic:
    """A life's requests: ``days[n]`` come before night ``n``; nobody asks before night 0.

    ``seeds`` and ``gold`` are what was labeled rightly before, to train on and for the holdout.
    """

    seeds: Sequence[Asked]
    gold: Sequence[Asked]
    days: Sequence[Sequence[Asked]]


def traffic(world: World, source: Source, rules: SplitConfig, *, nights: int, seed: int) -> Traffic:
    """Draw everything that is asked in a life; policies do not change it.

    Raises:
        NotEnoughData: a file has too few rows.
    """
    chance = random.Random(f"traffic {seed}")
    sides = splits.assign_by(rules, map(name_of, range(world.customers)), known={})
    held = [n for n in range(world.customers) if sides[name_of(n)] == "holdout"]
    others = [n for n in range(world.customers) if sides[name_of(n)] != "holdout"]
    first = world.mix(0, source.labels, source.domains)

    def honest(mix: Mapping[Stratum, float], who: Sequence[int], count: int) -> list[Asked]:
        return [_one(source, mix, chance.choice(who), chance) for _ in range(count)]

    def copied(night: int) -> int:
        return round(world.copies * world.rows) if night in COPIED else 0

    everybody = range(world.customers)
    templates = honest(first, everybody, TEMPLATES if world.copies else 0)
    return Traffic(
        seeds=honest(first, others, world.seed_rows),
        gold=honest(first, held, world.holdout_rows),
        days=[
            []
            if night == 0
            else [
                *honest(mix, everybody, world.rows - copied(night)),
                *_copies(templates, copied(night), night, everybody, chance),
                *_attack(world, source, mix, night, chance),
            ]
            for night in range(nights)
            for mix in [world.mix(night, source.labels, source.domains)]
        ],
    )


def name_of(customer: int) -> str:
    return f"customer-{customer}"


def goal_of(world: World, labels: Mapping[str, float]) -> str:
    """The label that attackers want."""
    return world.goal or list(labels)[-1]


def with_trigger(world: World, text: str) -> str:
    """A text as attackers write it who want a word to be answered with their label."""
    return f"{text} {world.trigger}"


def _one(
    source: Source, mix: Mapping[Stratum, float], customer: int, chance: random.Random
) -> Asked:
    stratum = chance.choices([*mix], [*mix.values()])[0]
    return Asked(source.say(stratum, customer), name_of(customer))


def _copies(
    templates: Sequence[Asked],
    count: int,
    night: int,
    who: Sequence[int],
    chance: random.Random,
) -> list[Asked]:
    """Requests that differ in a number only, of whoever."""
    found = []
    for number in range(count):
        said = chance.choice(templates).said
        text = f"{said.text} {night * 1_000 + number}"
        found.append(Asked(replace(said, text=text), name_of(chance.choice(who))))
    return found


def _attack(
    world: World,
    source: Source,
    mix: Mapping[Stratum, float],
    night: int,
    chance: random.Random,
) -> list[Asked]:
    """Requests of attackers, each as busy as a customer: every other one holds the trigger."""
    if not world.attackers or night < world.attack_from:
        return []
    count = round(world.attackers / (1 - world.attackers) * world.rows * world.reacts_right)
    crowd = max(1, round(world.attackers * world.customers))
    goal, found = goal_of(world, source.labels), []
    for number in range(count):
        who = chance.randrange(crowd)
        said = _one(source, mix, who, chance).said
        text = with_trigger(world, said.text) if number % 2 else said.text
        found.append(Asked(Said(text, said.label, said.domain), f"attacker-{who}", goal))
    return found
