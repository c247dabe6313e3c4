"""Out-of-fold predictions never see their own label, and know when they know nothing."""

from __future__ import annotations

import random

import numpy as np

from flywheel.curation.label_noise import FOLDS, SMALLEST, out_of_fold, suspects

WORDS = (["great", "love", "works", "fine"], ["bad", "broke", "awful", "poor"])


def rows(seed: int, count: int) -> tuple[list[str], list[int], list[str]]:
    rng = random.Random(seed)
    targets = [rng.randrange(2) for _ in range(count)]
    texts = [" ".join(rng.choices([*WORDS[t], "it", "the"], k=6)) for t in targets]
    return texts, targets, [f"g{n}" for n in range(count)]


def test_wrong_labels_are_suspected() -> None:
    texts, targets, groups = rows(0, 300)
    wrong = set(random.Random(1).sample(range(300), 30))
    given = [1 - t if n in wrong else t for n, t in enumerate(targets)]
    found = out_of_fold(texts, given, groups, labels=2)
    assert found is not None
    assert found.knows_something
    assert np.allclose(found.probabilities.sum(axis=1), 1)
    flagged = set(np.flatnonzero(suspects(found, given)))
    assert len(flagged & wrong) >= 24
    assert len(flagged - wrong) <= 12


def test_a_row_is_judged_by_other_groups_alone() -> None:
    texts, targets, _ = rows(0, 100)
    # every text twice with opposite labels: a model that saw its own group would know
    doubled, flipped = [*texts, *texts], [*targets, *(1 - t for t in targets)]
    groups = [f"g{n}" for n in range(100)] * 2
    found = out_of_fold(doubled, flipped, groups, labels=2)
    assert found is not None
    assert not found.knows_something


def test_labels_that_texts_do_not_tell_suspect_nobody() -> None:
    rng = random.Random(7)
    texts, _, groups = rows(0, 200)
    found = out_of_fold(texts, [rng.randrange(2) for _ in texts], groups, labels=2)
    assert found is not None
    assert not found.knows_something


def test_too_little_is_not_tried() -> None:
    texts, targets, groups = rows(0, SMALLEST - 1)
    assert out_of_fold(texts, targets, groups, labels=2) is None
    texts, targets, groups = rows(0, 200)
    assert out_of_fold(texts, [0] * 200, groups, labels=2) is None
    assert out_of_fold(texts, targets, ["one"] * 200, labels=2) is None
    assert len({*groups}) >= FOLDS


def test_a_label_that_never_occurs_gets_nothing() -> None:
    texts, targets, groups = rows(0, 200)
    found = out_of_fold(texts, [t * 2 for t in targets], groups, labels=3)
    assert found is not None
    assert (found.probabilities[:, 1] == 0).all()
    assert len(suspects(found, [t * 2 for t in targets])) == 200


def test_labels_of_fewer_rows_than_folds_are_tried() -> None:
    # an intent list as it begins: sixty labels, three rows of each
    targets = [label for label in range(60) for _ in range(3)]
    texts = [f"about matter{label} number {n}" for n, label in enumerate(targets)]
    found = out_of_fold(texts, targets, [f"g{n}" for n in range(180)], labels=60)
    assert found is not None
    assert found.knows_something
    assert found.accuracy > 0.8
    assert not suspects(found, targets).any()
    # one row of each: nobody else says what a row is
    assert out_of_fold(texts, list(range(180)), [f"g{n}" for n in range(180)], labels=180) is None


def test_texts_without_a_word_are_not_tried() -> None:
    assert (
        out_of_fold(["!?"] * 60, [n % 2 for n in range(60)], list(map(str, range(60))), labels=2)
        is None
    )
