"""Claims about the baselines."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flywheel.errors import DataError, NotEnoughData
from flywheel.evaluation.baselines import majority, tfidf_logistic

LABELS = ("other", "card", "bill")
TRAIN = [
    ("my card was stolen", "card"),
    ("the card is blocked", "card"),
    ("new card please", "card"),
    ("the bill is too high", "bill"),
    ("I cannot pay this bill", "bill"),
]
Baseline = Callable[..., list[dict[str, float]]]
each_baseline = pytest.mark.parametrize("baseline", [majority, tfidf_logistic])


def test_majority_answers_with_the_shares_of_the_labels() -> None:
    assert majority(TRAIN, ["x", "y"], LABELS) == [{"other": 0.0, "card": 0.6, "bill": 0.4}] * 2


def test_tfidf_logistic_tells_the_labels_apart() -> None:
    card, bill = tfidf_logistic(TRAIN, ["card stolen", "high bill"], LABELS)
    assert max(card, key=card.__getitem__) == "card"
    assert max(bill, key=bill.__getitem__) == "bill"


@each_baseline
def test_every_label_has_a_probability_in_order(baseline: Baseline) -> None:
    for answer in baseline(TRAIN, ["a card", "", "unseen words only"], LABELS):
        assert tuple(answer) == LABELS
        assert sum(answer.values()) == pytest.approx(1)
        assert answer["other"] == 0


def test_tfidf_logistic_answers_the_same_twice() -> None:
    assert tfidf_logistic(TRAIN, ["a card"], LABELS) == tfidf_logistic(TRAIN, ["a card"], LABELS)


@pytest.mark.parametrize(
    "train",
    [
        pytest.param(TRAIN[:3], id="one label"),
        pytest.param([("?", "card"), ("!", "bill"), ("a", "bill")], id="no words"),
    ],
)
def test_with_nothing_to_tell_apart_the_majority_answers(train: list[tuple[str, str]]) -> None:
    assert tfidf_logistic(train, ["card"], LABELS) == majority(train, ["card"], LABELS)


@each_baseline
def test_no_texts_give_no_answers(baseline: Baseline) -> None:
    assert baseline(TRAIN, [], LABELS) == []


@each_baseline
def test_nothing_to_learn_from_and_unknown_labels_are_refused(baseline: Baseline) -> None:
    with pytest.raises(NotEnoughData, match="0 training examples"):
        baseline([], ["x"], LABELS)
    with pytest.raises(DataError, match="cash"):
        baseline([*TRAIN, ("coins", "cash")], ["x"], LABELS)
