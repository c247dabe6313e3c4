"""Claims about marking a holdout and about the statistics of a comparison."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from flywheel.errors import DataError, NotEnoughData
from flywheel.evaluation.metrics import expected_calibration_error, report
from flywheel.records import Report
from flywheel.stats.paired_tests import (
    labels_to_decide,
    paired_difference_interval,
    paired_p_value,
    wilson_interval,
)

LABELS = ("bill", "card", "other")


def mark(
    gold: dict[str, str], answers: dict[str, dict[str, float]], latency_ms: float = 1.0
) -> Report:
    return report(digest="d", labels=LABELS, gold=gold, answers=answers, latency_ms=latency_ms)


def answer(bill: float, card: float, other: float) -> dict[str, float]:
    return {"bill": bill, "card": card, "other": other}


@pytest.mark.parametrize("seed", range(5))
def test_report_equals_sklearn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.ones(3), size=300)
    right = rng.integers(0, 3, size=300)
    ids = [f"e{i:03}" for i in range(300)]
    shuffled = rng.permutation(300)
    found = mark(
        {ids[i]: LABELS[right[i]] for i in shuffled},
        {ids[i]: dict(zip(LABELS, scores[i].tolist(), strict=True)) for i in range(300)},
    )
    top = scores.argmax(axis=1)
    assert found.example_ids == tuple(ids)
    assert found.correct == tuple((top == right).tolist())
    assert found.accuracy == pytest.approx(reference.accuracy_score(right, top))
    assert found.macro_f1 == pytest.approx(reference.f1_score(right, top, average="macro"))
    assert found.log_loss == pytest.approx(reference.log_loss(right, scores))
    expected = reference.classification_report(right, top, target_names=LABELS, output_dict=True)
    for label in LABELS:
        assert found.per_class[label]["precision"] == pytest.approx(expected[label]["precision"])
        assert found.per_class[label]["recall"] == pytest.approx(expected[label]["recall"])
        assert found.per_class[label]["f1"] == pytest.approx(expected[label]["f1-score"])
        assert found.per_class[label]["support"] == expected[label]["support"]


def test_macro_f1_skips_classes_that_the_holdout_lacks() -> None:
    gold = {"a": "bill", "b": "card"}
    found = mark(gold, {"a": answer(1, 0, 0), "b": answer(0, 0, 1)})
    assert found.macro_f1 == pytest.approx(0.5)
    assert found.per_class["other"] == {"precision": 0, "recall": 0, "f1": 0, "support": 0}


def test_a_tie_goes_to_the_earlier_label() -> None:
    assert mark({"a": "bill"}, {"a": answer(0.5, 0.5, 0)}).correct == (True,)


def test_a_certain_mistake_costs_a_finite_number_of_nats() -> None:
    assert mark({"a": "card"}, {"a": answer(1, 0, 0)}).log_loss == pytest.approx(12 * math.log(10))
    assert math.copysign(1, mark({"a": "bill"}, {"a": answer(1, 0, 0)}).log_loss) == 1


def test_calibration_error_by_hand() -> None:
    # 0.9 lies in (0.8, 0.9]: 3 of 4 right. 0.6 lies in (0.5, 0.6]: 1 of 2 right.
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.6, 0.6])
    correct = np.array([True, True, True, False, True, False])
    expected = 4 / 6 * 0.15 + 2 / 6 * 0.1
    assert expected_calibration_error(confidence, correct) == pytest.approx(expected)
    assert expected_calibration_error(np.ones(3), np.zeros(3, dtype=bool)) == 1.0


def test_calibration_error_bins_are_closed_on_the_right() -> None:
    # Both in (0.4, 0.5]: one gap each way would cancel only inside one bin.
    confidence, correct = np.array([0.5, 0.41]), np.array([True, False])
    assert expected_calibration_error(confidence, correct) == pytest.approx(abs(1 - 0.91) / 2)


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param({}, id="no answer"),
        pytest.param({"a": answer(math.nan, 0.5, 0.5)}, id="NaN"),
        pytest.param({"a": answer(-0.1, 0.6, 0.5)}, id="negative"),
        pytest.param({"a": answer(math.inf, 0, 0)}, id="infinite"),
        pytest.param({"a": answer(0.5, 0.5, 0.002)}, id="sum"),
        pytest.param({"a": {"bill": 0.5, "card": 0.5}}, id="label missing"),
        pytest.param({"a": {**answer(1, 0, 0), "cash": 0.0}}, id="label unknown"),
    ],
)
def test_an_answer_that_cannot_be_marked_is_refused(bad: dict[str, dict[str, float]]) -> None:
    with pytest.raises(DataError, match="Holdout row a"):
        mark({"a": "bill"}, bad)


def test_rounding_in_the_sum_is_tolerated_and_scaled_away() -> None:
    found = mark({"a": "bill"}, {"a": answer(1.0009, 0, 0)})
    assert found.log_loss == 0
    assert found.calibration_error == 0


def test_an_unknown_gold_label_an_empty_holdout_and_a_bad_latency_are_refused() -> None:
    with pytest.raises(DataError, match="cash"):
        mark({"a": "cash"}, {"a": answer(1, 0, 0)})
    with pytest.raises(NotEnoughData, match="0 rows"):
        mark({}, {})
    with pytest.raises(DataError, match="latency_ms"):
        mark({"a": "bill"}, {"a": answer(1, 0, 0)}, latency_ms=math.nan)


def test_paired_p_value_is_the_binomial_tail() -> None:
    for wins, losses in [(0, 0), (0, 5), (5, 0), (41, 19), (7, 7)]:
        n = wins + losses
        tail = sum(math.comb(n, k) for k in range(wins, n + 1)) / 2**n
        assert paired_p_value(wins, losses) == pytest.approx(tail)


def test_wilson_interval_matches_scipy() -> None:
    from scipy.stats import binomtest

    for successes, trials in [(0, 10), (10, 10), (3, 7), (180, 200), (1, 1_000_000)]:
        for confidence in (0.9, 0.95, 0.9999):
            expected = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
            found = wilson_interval(successes, trials, confidence=confidence)
            assert found == pytest.approx((expected.low, expected.high), rel=0, abs=1e-12)
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_paired_difference_interval_covers_the_true_gain() -> None:
    rng = np.random.default_rng(0)
    rates = [0.08, 0.05, 0.87]
    draws = rng.multinomial(300, rates, size=4000)
    inside = 0
    for wins, losses, _ in draws.tolist():
        low, high = paired_difference_interval(wins, losses, 300)
        inside += low <= 0.03 <= high
    assert 0.935 <= inside / 4000 <= 0.975
    assert paired_difference_interval(0, 0, 0) == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("wins", "losses", "rows", "alpha"),
    [(20, 14, 300, 0.05), (9, 4, 250, 0.05), (30, 18, 400, 0.01)],
)
def test_labels_to_decide_gives_the_promised_power(
    wins: int, losses: int, rows: int, alpha: float
) -> None:
    further = labels_to_decide(wins, losses, rows, alpha=alpha)
    assert further is not None
    rates = [wins / rows, losses / rows, 1 - (wins + losses) / rows]
    draws = np.random.default_rng(1).multinomial(rows + further, rates, size=2000)
    decided = [paired_p_value(w, x) <= alpha for w, x, _ in draws.tolist()]
    assert np.mean(decided) == pytest.approx(0.8, abs=0.04)


def test_labels_to_decide_is_none_without_a_gain_and_at_least_one_with_it() -> None:
    assert labels_to_decide(5, 5, 100, alpha=0.05) is None
    assert labels_to_decide(4, 5, 100, alpha=0.05) is None
    assert labels_to_decide(0, 0, 0, alpha=0.05) is None
    assert labels_to_decide(90, 0, 100, alpha=0.05) == 1
