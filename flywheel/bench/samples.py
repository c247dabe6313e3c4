"""The rows of a benchmark: training rows drawn anew for each seed, the holdout always the same.

A draw of more rows holds every row of a smaller one with the same seed, so that a learning curve
adds rows instead of swapping them.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from flywheel.config import Home, UseCase
from flywheel.dataset import product_reviews, snapshots, splits
from flywheel.errors import NotEnoughData
from flywheel.records import Curated, Example, Split
from flywheel.store import open_store
from flywheel.store.feedback import labeling
from flywheel.text.normalize import text_id


@dataclass(frozen=True)
class Pool:
    """Labeled examples of each split. ``relabel`` gives training rows another person's label."""

    examples: tuple[Example, ...]
    sentences: dict[str, product_reviews.Sentence]

    def of(self, split: Split) -> list[Example]:
        return [e for e in self.examples if e.split == split and e.label is not None]

    @property
    def identity(self) -> str:
        """One hash over all of it."""
        return snapshots.snapshot_id(Curated(self.examples, ()))


def from_snapshot(use_case: UseCase, home: Home) -> Pool:
    """The newest snapshot of a use case.

    Raises:
        NotEnoughData: it has none.
    """
    with open_store(home.warehouse) as store:
        found = labeling.newest_snapshot(store, use_case.name)
    if found is None:
        raise NotEnoughData(f"{use_case.name} has no snapshot yet; run a night first.")
    return Pool(snapshots.read(home.snapshots, found), {})


def from_reviews(use_case: UseCase, home: Home) -> Pool:
    """The whole default data: gold in the holdout, one person's label elsewhere."""
    sentences = product_reviews.read_reviews(product_reviews.ensure_reviews(home))
    sides = splits.assign_by(use_case.split, {s.review_id for s in sentences}, known={})
    by_id = {text_id(s.text): s for s in sentences}
    examples = tuple(
        Example(
            example_id=name,
            text=s.text,
            label=product_reviews.gold_label(s.mean),
            confidence=1.0,
            group_id=s.review_id,
            split=sides[s.review_id],
            feedback_ids=(s.sentence_id,),
        )
        for name, s in sorted(by_id.items())
    )
    return Pool(_one_person_each(examples, by_id, seed=0), by_id)


def draw(pool: Pool, *, rows: int, seed: int) -> Curated:
    """``rows`` training rows, all validation rows, and the whole holdout.

    Raises:
        NotEnoughData: the pool has fewer training rows.
    """
    train = _one_person_each(pool.of("train"), pool.sentences, seed=seed)
    if rows > len(train):
        raise NotEnoughData(f"A draw of {rows} rows was asked for; there are {len(train)}.")
    shuffled = sorted(train, key=lambda e: e.example_id)
    random.Random(seed).shuffle(shuffled)
    chosen = [*shuffled[:rows], *pool.of("validation"), *pool.of("holdout")]
    return Curated(tuple(sorted(chosen, key=lambda e: e.example_id)), ())


def _one_person_each(
    examples: Sequence[Example], sentences: dict[str, product_reviews.Sentence], *, seed: int
) -> tuple[Example, ...]:
    """Rows outside the holdout with the label of one of their raters, drawn by the seed."""
    result = []
    for example in examples:
        sentence = sentences.get(example.example_id)
        if sentence is not None and example.split != "holdout":
            key = hashlib.sha256(f"{seed}:{example.example_id}".encode()).digest()
            rating = sentence.ratings[int.from_bytes(key[:8], "big") % len(sentence.ratings)]
            example = replace(example, label=product_reviews.rater_label(rating))
        result.append(example)
    return tuple(result)
