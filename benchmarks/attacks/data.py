"""The default data as honest customers speak on it, and what a dishonest one can add."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from benchmarks.attacks.learners import Learn, tfidf
from flywheel.config import Home, UseCase, load_use_case
from flywheel.dataset import product_reviews, splits
from flywheel.dataset.product_reviews import Sentence
from flywheel.records import FeedbackKind, Reaction, Split

RATERS = 100
"""Customers, each of one person."""
VOTES = 3
START = datetime(2026, 1, 1, tzinfo=UTC)
Push = Callable[[int, Sentence, str, random.Random], str]


@dataclass(frozen=True)
class Data:
    """The default use case's sentences on both sides of the holdout, and how a model learns."""

    case: UseCase
    sides: dict[str, Split]
    train: list[Sentence]
    holdout: list[Sentence]
    learn: Learn = field(default=tfidf, repr=False)


def load(home: Home, learn: Learn = tfidf) -> Data:
    """Read the default data; it is fetched first where it is missing."""
    case = load_use_case("product-reviews")
    return on_sides(case, product_reviews.read_reviews(product_reviews.ensure_reviews(home)), learn)


def on_sides(case: UseCase, sentences: Sequence[Sentence], learn: Learn = tfidf) -> Data:
    """The sentences, each on the side of its review."""
    sides = splits.assign_by(case.split, {s.review_id for s in sentences}, known={})
    train, holdout = (
        [s for s in sentences if sides[s.review_id] == side] for side in ("train", "holdout")
    )
    return Data(case, sides, train, holdout, learn)


def vote(data: Data, seed: int, *, pushing: float, push: Push, texts: int) -> list[Reaction]:
    """Every rater's label: the first ``pushing`` share of raters answer as ``push`` says."""
    rng = random.Random(seed)
    result = []
    for sentence in rng.sample(data.train, min(texts, len(data.train))):
        for rater in rng.sample(range(RATERS), VOTES):
            label = product_reviews.rater_label(rng.choice(sentence.ratings))
            if rater < pushing * RATERS:
                label = push(rater, sentence, label, rng)
            result.append(vote_of(len(result), sentence.text, sentence.review_id, rater, label))
    return result


def vote_of(number: int, text: str, group: str, rater: int, label: str) -> Reaction:
    """The ``number``-th label, a minute after the one before, by a person of a customer's."""
    return Reaction(
        feedback_id=f"f{number:06}",
        kind="label",
        value=label,
        text=text,
        group_id=group,
        rater_id=f"rater-{rater}",
        source="app",
        given_at=START + timedelta(minutes=number),
        customer_id=f"customer-{rater}",
    )


def dishonest(share: float) -> int:
    """How many customers a ``share`` of them is."""
    return round(share * RATERS)


def keyed(
    number: int,
    customer: int,
    text: str,
    label: str | None,
    *,
    at: datetime,
    group: str = "",
    name: str = "",
    kind: FeedbackKind = "label",
    bound: bool = True,
) -> Reaction:
    """As the service writes what comes with a customer's key, under any ``name`` below it.

    ``bound`` False: as from a backend's key, which is believed whom it speaks for.
    """
    who = f"customer-{customer}"
    below = f"{who}/{name}" if name else who
    return Reaction(
        feedback_id=f"{who}/{number:06}" if bound else f"f-{who}-{number:06}",
        kind=kind,
        value=label,
        text=text,
        group_id=group or below,
        rater_id=below if bound else name or who,
        source="app",
        given_at=at,
        customer_id=who,
    )


def gold(data: Data) -> list[Reaction]:
    """The label of every holdout sentence by the mean of its raters, as in the default use case."""
    return [
        Reaction(
            feedback_id=f"gold-{s.sentence_id}",
            kind="label",
            value=product_reviews.gold_label(s.mean),
            text=s.text,
            group_id=s.review_id,
            rater_id="mean-of-all-raters",
            source="gold",
            given_at=START,
        )
        for s in data.holdout
    ]


def honest(
    sentences: Sequence[Sentence], rng: random.Random, *, at: datetime, days: int
) -> list[Reaction]:
    """``VOTES`` customers' labels of each sentence, drawn of its real raters, over some days."""
    return [
        keyed(
            rng.randrange(10**9),
            customer,
            sentence.text,
            product_reviews.rater_label(rng.choice(sentence.ratings)),
            at=at + timedelta(minutes=rng.randrange(days * 1_440)),
            group=sentence.review_id,
        )
        for sentence in sentences
        for customer in rng.sample(range(RATERS), VOTES)
    ]
