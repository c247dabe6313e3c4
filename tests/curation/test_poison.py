"""A campaign is found by what its votes share, and honest disagreement is none."""

from __future__ import annotations

import random

import numpy as np
import pytest

from flywheel.curation.poisoning import Feature, find_campaigns, phrases


def votes(
    seed: int, *, pushers: int, texts: int = 600
) -> tuple[list[set[Feature]], list[str], list[str], list[int], np.ndarray]:  # type: ignore[type-arg]
    """Three labels, three voters a text, one text in five about the phone; honest error 10 %.

    The first ``pushers`` of 60 raters name label 0 whenever the phone is talked about.
    """
    rng = random.Random(seed)
    features, names, raters, named, expected = [], [], [], [], []
    for number in range(texts):
        truth = rng.randrange(3)
        about = "phone" if number % 5 == 0 else f"thing{number % 37}"
        for rater in rng.sample(range(60), 3):
            label = truth if rng.random() < 0.9 else rng.randrange(3)
            if rater < pushers and about == "phone":
                label = 0
            features.append(phrases(f"the {about} is here") | {("rater", f"r{rater}")})
            names.append(f"t{number}")
            raters.append(f"r{rater}")
            named.append(label)
            expected.append([0.94 if label == truth else 0.03 for label in range(3)])
    return features, names, raters, named, np.array(expected)


@pytest.mark.parametrize("seed", range(5))
def test_pushers_are_held_back_and_honest_votes_are_not(seed: int) -> None:
    features, names, raters, named, expected = votes(seed, pushers=12)
    campaigns, held = find_campaigns(features, names, raters, named, expected)
    assert any("phone" in c.feature and c.label == 0 for c in campaigns if c.kind == "phrase")
    about_phone = np.array([("phrase", "phone") in f for f in features])
    pushing = np.array([int(r[1:]) < 12 for r in raters]) & about_phone & (np.array(named) == 0)
    assert (held & pushing).sum() >= 0.9 * pushing.sum()
    assert (held & ~pushing).sum() <= 0.03 * (~pushing).sum()


def test_where_nobody_pushes_almost_nothing_is_found() -> None:
    found = [find_campaigns(*votes(seed, pushers=0))[0] for seed in range(20)]
    assert sum(map(bool, found)) <= 3


def test_no_votes_no_campaign() -> None:
    campaigns, held = find_campaigns([], [], [], [], np.zeros((0, 3)))
    assert (campaigns, held.tolist()) == ([], [])


def test_phrases_are_words_and_pairs_whatever_the_case() -> None:
    assert phrases("The PHONE, broke") == {
        ("phrase", value) for value in ("the", "phone", "broke", "the phone", "phone broke")
    }
    assert phrases("") == set()
