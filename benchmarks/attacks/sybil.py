"""Sybils: each dishonest customer speaks under many names, and all of them on the same texts.

    sybil        each names the pushed label on the same texts, under `NAMES` names, with as many
                 rows as a night takes of one customer, and on no more texts than it lets pass
    quiet        each on too few texts to be a campaign; so many together that they are more than
                 the honest on a text

They sent honest feedback before. Without the defence: the same rows by a backend's key, so that
every name is a rater. ``success`` is the share of attacked texts that train with the pushed label
where they did not without the attack.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta

from benchmarks.attacks import nights
from benchmarks.attacks.data import VOTES, dishonest, keyed
from benchmarks.attacks.nights import TONIGHT, Night, World
from flywheel.curation import poisoning
from flywheel.dataset.product_reviews import Sentence, gold_label
from flywheel.records import Reaction
from flywheel.text.normalize import text_id

NAMES = 3
QUIET = 0.75
"""Of what a night may change, the share that they are content with."""
TARGET = "negative"


def sybil(world: World, seed: int, share: float) -> dict[str, float]:
    """All they may send, on the same texts; too few of these to be unusual feedback."""
    rules = world.data.case.curation
    unseen = round(QUIET * rules.max_change * len(world.known))
    each = min(rules.max_customer_rows // NAMES, unseen)
    return _measured(world, seed, [list(range(each))] * dishonest(share))


def quiet(world: World, seed: int, share: float) -> dict[str, float]:
    """In teams, each on texts of its own; fewer texts than make a campaign."""
    few = poisoning.FEWEST - 1
    size = 2 * VOTES - 1
    teams = [[few * (one // size) + n for n in range(few)] for one in range(dishonest(share))]
    return _measured(world, seed, teams)


def _measured(world: World, seed: int, chosen: Sequence[Sequence[int]]) -> dict[str, float]:
    """``chosen``: for each dishonest customer the numbers of the texts attacked."""
    others = [s for s in world.known if gold_label(s.mean) != TARGET]
    attacked = {text_id(others[n].text) for one in chosen for n in one if n < len(others)}
    result: dict[str, float] = {}
    for bound in (True, False):
        found = nights.night(world, _rows(others, chosen, seed, bound=bound))
        figures = {
            "success": _turned(found, attacked) - _turned(world.clean, attacked),
            **nights.cost(world, found),
        }
        result |= figures if bound else nights.without(figures)
    return result


def _rows(
    others: Sequence[Sentence], chosen: Sequence[Sequence[int]], seed: int, *, bound: bool
) -> list[Reaction]:
    rng = random.Random(seed + 1)
    targets = [
        (customer, others[n], name)
        for customer, numbers in enumerate(chosen)
        for n in numbers
        if n < len(others)
        for name in range(NAMES)
    ]
    return [
        keyed(
            row,
            customer,
            sentence.text,
            TARGET,
            at=TONIGHT + timedelta(minutes=rng.randrange(1_440)),
            group=sentence.review_id,
            name=f"invented-{customer}-{name}",
            bound=bound,
        )
        for row, (customer, sentence, name) in enumerate(targets)
    ]


def _turned(found: Night, attacked: set[str]) -> float:
    """The share of the attacked texts that train with the pushed label."""
    rows = {text_id(text): label for text, label, _ in found.rows}
    return sum(rows.get(one) == TARGET for one in attacked) / len(attacked)
