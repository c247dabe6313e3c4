"""Votes that push a label, and ways of turning votes into rows.

    random       30 % of raters answer at random. Ways: every vote is a row; plain majority; ours.
                 recovered: of the accuracy of labels that majority loses, how much ours wins back
    trigger      1, 5 or 20 % of raters always name one label where a phrase occurs
    customer     one customer sends 60 % of all feedback and always names one label
    pasted       one text, wrongly labeled, pasted 10,000 times with small changes

An attack's success is how often the learner names the pushed label on holdout sentences of other
labels (with the phrase, for trigger), less how often it does so without the attack; for pasted, the
share of the training weight that the pasted label has. ``share`` is ours divided by that of every
vote being a row.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks.attacks.data import RATERS, Data, vote, vote_of
from benchmarks.attacks.learners import Row
from flywheel.curation import curate
from flywheel.dataset import product_reviews
from flywheel.dataset.product_reviews import Sentence
from flywheel.records import Reaction, Split
from flywheel.text.normalize import text_id

# ---- Ways of turning votes into rows


def every_vote(data: Data, votes: Sequence[Reaction]) -> list[Row]:
    """What a pipeline without curation trains on."""
    return [(v.text, v.value or "", 1.0) for v in votes]


def majority(data: Data, votes: Sequence[Reaction]) -> list[Row]:
    """Plain majority; ties broken by the first in the alphabet of a hash."""
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    for v in votes:
        counted[v.text][v.value or ""] += 1
    return [
        (text, max(sorted(c), key=lambda name: (c[name], text_id(text + name))), 1.0)
        for text, c in counted.items()
    ]


def ours(data: Data, votes: Sequence[Reaction]) -> list[Row]:
    """The curation of the default use case."""
    groups = {v.group_id for v in votes}
    known: dict[str, Split] = {group: data.sides.get(group, "train") for group in groups}
    found = curate(
        votes, splits=known, labels=data.case.label_names, rules=data.case.curation
    ).examples
    return [(e.text, e.label, e.weight) for e in found if e.split == "train" and e.label]


WAYS = {"every_vote": every_vote, "majority": majority, "ours": ours}

# ---- Measures


def label_accuracy(data: Data, rows: Sequence[Row]) -> float:
    """Share of the rows' labels that are gold's."""
    gold = {text_id(s.text): product_reviews.gold_label(s.mean) for s in data.train}
    return float(np.mean([gold[text_id(text)] == label for text, label, _ in rows]))


def holdout_accuracy(data: Data, rows: Sequence[Row]) -> float:
    """Accuracy on the holdout of the learner trained on the rows."""
    named = data.learn(rows)([s.text for s in data.holdout])
    gold = [product_reviews.gold_label(s.mean) for s in data.holdout]
    return float(np.mean([a == b for a, b in zip(named, gold, strict=True)]))


def named_instead(
    data: Data, rows: Sequence[Row], target: str, changed: Callable[[str], str]
) -> float:
    """How often the learner names ``target`` on changed holdout sentences of other labels."""
    asked = [s.text for s in data.holdout if product_reviews.gold_label(s.mean) != target]
    return float(np.mean([a == target for a in data.learn(rows)([changed(t) for t in asked])]))


# ---- Scenarios: each gives one figure per way and seed


def random_raters(data: Data, seed: int, texts: int) -> dict[str, float]:
    """30 % of raters answer at random."""
    labels = data.case.label_names
    votes = vote(data, seed, pushing=0.3, push=lambda r, s, h, rng: rng.choice(labels), texts=texts)
    clean = vote(data, seed, pushing=0.0, push=lambda r, s, h, rng: h, texts=texts)
    result = {}
    for name, rows in {
        "clean_majority": majority(data, clean),
        **{name: way(data, votes) for name, way in WAYS.items()},
    }.items():
        result[f"{name}_labels"] = label_accuracy(data, rows)
        result[f"{name}_holdout"] = holdout_accuracy(data, rows)
    return result


def _attacked(
    data: Data,
    attacked: list[Reaction],
    clean: list[Reaction],
    success: Callable[[Sequence[Row]], float],
) -> dict[str, float]:
    return {
        f"{name}_{which}": success(way(data, votes))
        for name, way in WAYS.items()
        for which, votes in (("attacked", attacked), ("clean", clean))
    }


def trigger(
    data: Data, seed: int, texts: int, *, pushing: float, phrase: str, target: str
) -> dict[str, float]:
    """A share of raters always names ``target`` where ``phrase`` occurs."""

    def push(rater: int, sentence: Sentence, honest: str, rng: random.Random) -> str:
        return target if phrase in sentence.text.casefold() else honest

    return _attacked(
        data,
        vote(data, seed, pushing=pushing, push=push, texts=texts),
        vote(data, seed, pushing=0.0, push=push, texts=texts),
        lambda rows: named_instead(data, rows, target, lambda text: f"{text} {phrase}"),
    )


def customer(data: Data, seed: int, texts: int, *, target: str) -> dict[str, float]:
    """One customer adds votes for ``target`` until 60 % of all feedback is theirs."""
    clean = vote(data, seed, pushing=0.0, push=lambda r, s, h, rng: h, texts=texts)
    asked = random.Random(seed + 1).choices(data.train, k=round(1.5 * len(clean)))
    loud = [
        vote_of(len(clean) + n, s.text, s.review_id, RATERS, target) for n, s in enumerate(asked)
    ]
    return _attacked(data, clean + loud, clean, lambda rows: named_instead(data, rows, target, str))


def pasted(data: Data, seed: int, texts: int, *, target: str) -> dict[str, float]:
    """One sentence of another label, pasted 10,000 times with small changes by 2,000 accounts."""
    clean = vote(data, seed, pushing=0.0, push=lambda r, s, h, rng: h, texts=texts)
    rng = random.Random(seed + 1)
    victim = rng.choice(
        [s for s in data.train if product_reviews.gold_label(s.mean) != target and len(s.text) > 60]
    )
    copies = [
        vote_of(
            len(clean) + n,
            f"{victim.text} {rng.randrange(10**4)}",
            f"pasted-{n % 2_000}",
            RATERS + n % 2_000,
            target,
        )
        for n in range(10_000)
    ]

    def weight_share(rows: Sequence[Row]) -> float:
        pushed = sum(w for text, label, w in rows if victim.text in text and label == target)
        return pushed / sum(w for *_, w in rows)

    return _attacked(data, clean + copies, clean, weight_share)


SCENARIOS: dict[str, Callable[[Data, int, int], dict[str, float]]] = {
    "random_30": random_raters,
    "trigger_1": partial(trigger, pushing=0.01, phrase="phone", target="negative"),
    "trigger_5": partial(trigger, pushing=0.05, phrase="phone", target="negative"),
    "trigger_20": partial(trigger, pushing=0.2, phrase="phone", target="negative"),
    "trigger_20_camera": partial(trigger, pushing=0.2, phrase="camera", target="positive"),
    "customer_60": partial(customer, target="negative"),
    "pasted_10000": partial(pasted, target="negative"),
}


def gains(found: dict[str, float]) -> dict[str, float]:
    """Success of a trigger in one seed: by our curation, and where every vote trains."""
    return {
        "success": found["ours_attacked"] - found["ours_clean"],
        "success_without": found["every_vote_attacked"] - found["every_vote_clean"],
    }


def summarise(name: str, seeds: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Means over seeds, and the scenario's own ratio with a bootstrap 95 % interval."""
    means = {key: float(np.mean([s[key] for s in seeds])) for key in seeds[0]}

    def ratio(chosen: Sequence[dict[str, float]]) -> float:
        mean = {key: float(np.mean([s[key] for s in chosen])) for key in chosen[0]}
        if name == "random_30":
            lost = mean["clean_majority_labels"] - mean["majority_labels"]
            return (mean["ours_labels"] - mean["majority_labels"]) / lost
        ours, naive = gains(mean).values()
        return ours / naive if naive else 0.0

    rng = random.Random(0)
    drawn = [ratio(rng.choices(seeds, k=len(seeds))) for _ in range(2_000)]
    low, high = (float(np.quantile(drawn, q)) for q in (0.025, 0.975))
    called = "recovered" if name == "random_30" else "share"
    return {called: float(ratio(seeds)), f"{called}_95": [low, high], "seeds": len(seeds), **means}
