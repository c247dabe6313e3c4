"""Placement: texts of others are pushed out of training, to the side of the holdout.

    placement    ratings and right labels of known texts, under groups that are held out; by a
                 backend's key, which names any group. Without the defence: any row places its text
    chain        labels of texts in between: each almost alike to the next, from a text of the
    holdout
                 to one that trains, which is then like the holdout, and so never learned from.
                 Needs to know a text of the holdout. Without: no limit to what a night may change

``success`` is the share of training rows that are none any more.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta

from benchmarks.attacks import nights
from benchmarks.attacks.data import dishonest, keyed
from benchmarks.attacks.nights import TONIGHT, Night, World
from flywheel.dataset.product_reviews import gold_label
from flywheel.records import Reaction
from flywheel.text.normalize import normalise, text_id

ALIKE = 0.73
"""Likeness of neighbours in a chain: a pair at the threshold of 0.7 is missed now and then."""
SHINGLE = 3


def placement(world: World, seed: int, share: float) -> dict[str, float]:
    """Every row that they may send is about another text that trains, in a group of the holdout."""
    rng = random.Random(seed + 1)
    most = world.data.case.curation.max_customer_rows
    told = rng.sample(world.known, len(world.known))
    groups = sorted(name for name, side in world.data.sides.items() if side == "holdout")
    attack = []
    for customer in range(dishonest(share)):
        for row in range(most):
            sentence = told[(customer * most + row) % len(told)]
            rates = row % 2 == 0
            attack.append(
                keyed(
                    row,
                    customer,
                    sentence.text,
                    None if rates else gold_label(sentence.mean),
                    at=_tonight(rng),
                    group=rng.choice(groups),
                    kind="rate" if rates else "label",
                    bound=False,
                )
            )
    named = {text_id(one.text) for one in attack}
    kept = [row for row in world.clean.rows if text_id(row[0]) not in named]
    open_door = Night(kept, world.clean.examples)
    return {
        **_figures(world, nights.night(world, attack)),
        **nights.without(_figures(world, open_door)),
    }


def chain(world: World, seed: int, share: float) -> dict[str, float]:
    """As many chains as fit into their rows, of those that need the fewest."""
    rng = random.Random(seed + 1)
    start = min((s.text for s in world.data.holdout if len(s.text) > 40), key=len)
    training = {text_id(text) for text, *_ in world.clean.rows}
    ends = [s.text for s in world.known if text_id(s.text) in training]
    chains = sorted((between(start, end) for end in ends), key=lambda one: (len(one), one))
    room = world.data.case.curation.max_customer_rows
    attack: list[Reaction] = []
    for customer in range(dishonest(share)):
        left = room
        while chains and len(chains[0]) <= left:
            left -= len(chains[0])
            for text in chains.pop(0):
                attack.append(
                    keyed(len(attack), customer, text, "neutral", at=_tonight(rng), bound=True)
                )
    anything = world.data.case.curation.model_copy(update={"max_change": 1.0})
    return {
        **_figures(world, nights.night(world, attack)),
        **nights.without(_figures(world, nights.night(world, attack, anything))),
    }


def _figures(world: World, found: Night) -> dict[str, float]:
    left = {text_id(text) for text, *_ in found.rows}
    before = {text_id(text) for text, *_ in (world.old if found.refused else world.clean).rows}
    return {"success": 1 - len(before & left) / len(before), **nights.cost(world, found)}


def _tonight(rng: random.Random) -> datetime:
    return TONIGHT + timedelta(minutes=rng.randrange(1_440))


# ---- Texts in between


def between(start: str, end: str) -> list[str]:
    """Texts by which ``start`` becomes ``end``: its words added, then the others taken away."""
    left, right = start.split(), end.split()
    texts = _steps([" ".join([*left, *right[:n]]) for n in range(len(right) + 1)])
    texts += _steps([" ".join([*left[n:], *right]) for n in range(len(left) + 1)])
    return [
        text for n, text in enumerate(texts) if text not in (start, end) and text not in texts[:n]
    ]


def _steps(line: Sequence[str]) -> list[str]:
    """As few of a line of texts as lead from its first to its last, each almost like the next."""
    found, here = [], 0
    while here < len(line) - 1:
        far = [n for n in range(here + 1, len(line)) if likeness(line[here], line[n]) >= ALIKE]
        here = max(far, default=here + 1)
        found.append(line[here])
    return found


def likeness(one: str, other: str) -> float:
    """Jaccard similarity of two texts' shingles, in [0, 1], as near-duplicates are told by."""
    mine, theirs = _shingles(one), _shingles(other)
    return len(mine & theirs) / len(mine | theirs)


def _shingles(text: str) -> set[str]:
    padded = f" {normalise(text)} "
    return {padded[n : n + SHINGLE] for n in range(len(padded) - SHINGLE + 1)}
