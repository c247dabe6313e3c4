"""The benchmark of rejections compares what it says, with the loss that training has."""

from __future__ import annotations

import random

import pytest

from benchmarks.rejections import Heard, cheap, reactions_of, seed_reactions, until_rejected
from flywheel.dataset.product_reviews import Sentence
from flywheel.records import Curated, Example

LABELS = ("negative", "neutral", "positive")


def sentence(number: int) -> Sentence:
    return Sentence(f"{number}_1", f"review-{number}", f"sentence number {number}", 1.0, (1, 1))


def example(number: int, label: str | None, excluded: tuple[str, ...] = ()) -> Example:
    said = label or next(name for name in LABELS if name not in excluded)
    text = f"{said} word{number}"
    return Example(f"{number:04}", text, label, 1.0, f"g{number}", "train", ("f",), 1.0, excluded)


def test_two_excluded_of_three_teach_what_the_third_as_a_label_does() -> None:
    named = [example(n, LABELS[n % 3]) for n in range(30)]
    excluded = [
        example(n, None, tuple(name for name in LABELS if name != LABELS[n % 3])) for n in range(30)
    ]
    asked = ["negative", "neutral", "positive word1", "unknown"]

    ours = cheap(LABELS)(Curated(tuple(excluded), ()))(asked)
    theirs = cheap(LABELS)(Curated(tuple(named), ()))(asked)

    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, abs=1e-6)
    assert [max(one, key=one.__getitem__) for one in ours[:3]] == list(LABELS)


def test_one_excluded_lowers_that_label_and_raises_the_others() -> None:
    rows = [example(n, LABELS[n % 3]) for n in range(30)]
    rejected = [
        Example(f"r{n}", f"odd word{n}", None, 1.0, "g", "train", ("f",), 1.0, ("positive",))
        for n in range(10)
    ]
    before = cheap(LABELS)(Curated(tuple(rows), ()))(["odd"])[0]
    after = cheap(LABELS)(Curated(tuple([*rows, *rejected]), ()))(["odd"])[0]
    assert after["positive"] < before["positive"] / 2
    assert after["negative"] > before["negative"]
    assert after["neutral"] > before["neutral"]


def test_all_ways_hear_the_same_people_until_the_last_rejection() -> None:
    seen = ["positive", "negative", "positive", "negative", "neutral", "positive"]
    heard = [Heard(sentence(n), "positive", one) for n, one in enumerate(seen)]
    told = until_rejected(heard, 2)
    assert [one.seen for one in told] == seen[:4]
    with pytest.raises(ValueError, match="only 3 of 6"):
        until_rejected(heard, 4)

    seed = seed_reactions([sentence(9)], random.Random(0))

    def kinds(way: str) -> list[str]:
        return [one.kind for one in reactions_of(way, seed, told)]

    assert kinds("seed") == ["label"]
    assert kinds("rejected") == ["label", "reject", "reject"]
    assert kinds("corrected") == ["label", "correct", "correct"]
    assert kinds("accepted") == ["label", "accept", "accept"]
    assert kinds("accepted_rejected") == ["label", "accept", "reject", "accept", "reject"]
    assert kinds("accepted_corrected") == ["label", "accept", "correct", "accept", "correct"]
