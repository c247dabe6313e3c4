"""Floods: dishonest customers send far more than all others.

flood        texts that nobody else has, always with the pushed label. Without the defence: no
             limit to rows of a night, nor to a customer's training weight, no campaigns looked
             for. ``success``: how often the learner names the pushed label on holdout sentences of
             other labels, more than without the attack
audits       requests whose answers are the least sure: ``success`` is the share of the texts
             drawn for an audit that are theirs; without: no share of a customer
queue        the same of the texts that a queue chooses
"""

from __future__ import annotations

import random
from datetime import timedelta

import numpy as np

from benchmarks.attacks import nights
from benchmarks.attacks.data import RATERS, Data, dishonest, keyed
from benchmarks.attacks.learners import Row
from benchmarks.attacks.nights import TONIGHT, Night, World
from flywheel.dataset.product_reviews import gold_label
from flywheel.ingestion.labeling_queue import AUDIT, Candidate, rank

ROWS = 250
"""Rows of each dishonest customer in its night."""
ASKED = {"honest": 8, "dishonest": 600}
"""Requests of each customer that could be labeled."""
LINES = 40
TARGET = "negative"
OPEN = {"max_customer_rows": 10**6, "max_customer_share": 1.0, "poison": False, "max_change": 1.0}


def flood(world: World, seed: int, share: float) -> dict[str, float]:
    """Texts of their own, with the pushed label."""
    rng = random.Random(seed + 1)
    told = [s.text for s in world.rest if gold_label(s.mean) != TARGET]
    attack = [
        keyed(
            row,
            customer,
            f"{rng.choice(told)} {rng.choice(told)}",
            TARGET,
            at=TONIGHT + timedelta(minutes=rng.randrange(1_440)),
        )
        for customer in range(dishonest(share))
        for row in range(ROWS)
    ]
    open_door = world.data.case.curation.model_copy(update=OPEN)
    return {
        **_figures(world, nights.night(world, attack)),
        **nights.without(_figures(world, nights.night(world, attack, open_door))),
    }


def _figures(world: World, found: Night) -> dict[str, float]:
    pushed = _named(world.data, found.rows) - _named(world.data, world.clean.rows)
    return {"success": pushed, **nights.cost(world, found)}


def _named(data: Data, rows: list[Row]) -> float:
    asked = [s.text for s in data.holdout if gold_label(s.mean) != TARGET]
    return float(np.mean([name == TARGET for name in data.learn(rows)(asked)]))


def audits(world: World, seed: int, share: float) -> dict[str, float]:
    """Of texts drawn at random."""
    return _of_a_queue(world, seed, share, audits=1.0)


def queue(world: World, seed: int, share: float) -> dict[str, float]:
    """Of texts that are chosen."""
    return _of_a_queue(world, seed, share, audits=0.0)


def _of_a_queue(world: World, seed: int, share: float, *, audits: float) -> dict[str, float]:
    shipped = world.data.case.curation.max_customer_share
    rng = random.Random(seed)
    pool = [
        Candidate(
            " ".join(f"word{rng.randrange(10**6)}" for _ in range(5)),
            f"group-{customer}",
            "negative",
            _unsure(0.0 if lies else rng.random()),
            customer=f"{'mallory' if lies else 'honest'}-{customer}",
        )
        for customer in range(RATERS)
        for lies in [customer < dishonest(share)]
        for _ in range(ASKED["dishonest" if lies else "honest"])
    ]
    result = {}
    for name, most in (("success", shipped), ("success_without", 1.0)):
        found = rank(
            pool, size=LINES, audit_share=audits, disputed=(), suspects={}, learned=(),
            seed=f"{seed}", share=most,
        )  # fmt: skip
        theirs = {one.item_id for one in pool if (one.customer or "").startswith("mallory")}
        assert all((one.reason == AUDIT) == bool(audits) for one in found)
        result[name] = sum(one.item_id in theirs for one in found) / len(found)
    return result


def _unsure(margin: float) -> dict[str, float]:
    """Probabilities whose first two are so far apart."""
    return {"negative": 0.5 + margin / 2, "positive": 0.5 - margin / 2}
