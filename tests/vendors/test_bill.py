"""Prices hold at measured throughput with idle time; marks count what was and was not answered."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.config import Home
from flywheel.records import Example, Prediction
from flywheel.store import open_store
from flywheel.store.feedback import prediction_counts as volume
from flywheel.vendors import cost, scoring
from flywheel.vendors.reply_cache import Answer
from flywheel.vendors.report import money
from tests.endpoints import vendor

NOW = datetime(2026, 3, 1, tzinfo=UTC)
MACHINE = cost.Machine(cost_per_hour=1.0, ms_per_answer=36.0)
"""2.4 million answers a day, 24 a day in currency: 0.01 per thousand when busy."""


def answer(label: str | None, **fields: Any) -> Answer:
    made = Answer(
        key="k",
        text_id="t",
        label=label,
        probabilities=None,
        reason=None if label else "empty",
        graded=False,
        seconds=0.1,
        input_tokens=100,
        output_tokens=5,
        price=0.0,
        metered=True,
        served_model="m",
        asked_at="2026-01-01",
    )
    return dataclasses.replace(made, **fields)


def rows(*labels: str) -> list[Example]:
    return [
        Example(f"e{i}", f"text {i}", label, 1.0, f"g{i // 2}", "holdout", ())
        for i, label in enumerate(labels)
    ]


# ---- What it costs


def test_idle_time_is_paid_for() -> None:
    assert MACHINE.busy_price == pytest.approx(0.01)
    assert MACHINE.price(2_400) == pytest.approx(10.0)
    assert MACHINE.price(24) == pytest.approx(1_000.0)


def test_more_than_a_machine_gives_takes_another() -> None:
    assert MACHINE.price(2_400_001) == pytest.approx(2 * MACHINE.busy_price, rel=1e-5)


@given(st.floats(0.011, 1e4))
def test_at_the_break_even_both_cost_the_same(price: float) -> None:
    volume = MACHINE.break_even(price)

    assert volume is not None
    assert MACHINE.price(volume) == pytest.approx(price)
    assert MACHINE.price(volume * 0.9) > price


@given(st.floats(1e-9, 0.0099))
def test_below_a_busy_machine_making_is_never_cheaper(price: float) -> None:
    assert MACHINE.break_even(price) is None
    assert cost.bought(price, MACHINE, 1.0)["never_cheaper_to_make"] is True


def test_what_is_not_known_is_not_made_up() -> None:
    assert cost.machine(None, 36.0) is None
    assert cost.machine(1.0, None) is None
    assert set(cost.made(None, 5.0).values()) == {None}
    assert cost.bought(1.0, None, 2_000) == {
        "price": 1.0,
        "per_day": 2.0,
        "break_even_per_day": None,
        "never_cheaper_to_make": None,
    }


def test_a_thousand_texts_cost_their_tokens_and_abstentions_are_paid() -> None:
    one = vendor("https://a.example", input_price=0.5, output_price=2.0)
    answers = [answer("a"), answer(None, input_tokens=300)]

    assert cost.price_per_thousand(one, answers) == pytest.approx(1_000 * (0.2 + 0.02) / 2)
    assert cost.price_per_thousand(one, []) is None


@pytest.mark.parametrize(
    ("amount", "said"),
    [(0, "0.00"), (12_345.678, "12,345.68"), (0.00123456, "0.00123"), (None, "not known")],
)
def test_amounts_keep_what_is_small(amount: float | None, said: str) -> None:
    assert money(amount) == said


# ---- How it did


def test_to_abstain_is_not_to_be_right_and_no_reply_counts_nowhere() -> None:
    found = scoring.score(rows("a", "a", "b", "b"), [answer("a"), answer(None), answer("a"), None])

    assert (found["right"], found["abstained"], found["unanswered"]) == (1, 1, 1)
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert found["accuracy_given"] == pytest.approx(1 / 2)
    assert found["reasons"] == {"empty": 1}
    assert found["low"] < found["accuracy"] < found["high"]


def test_nothing_answered_has_no_accuracy() -> None:
    found = scoring.score(rows("a"), [None])

    assert (found["accuracy"], found["accuracy_given"]) == (None, None)


def test_both_are_compared_on_the_rows_that_both_answered() -> None:
    ours = {"e0": {"a": 0.9, "b": 0.1}, "e1": {"a": 0.2, "b": 0.8}, "e2": {"a": 0.6, "b": 0.4}}
    answers = [answer("b"), answer("a"), None, answer("a")]

    found = scoring.compare(rows("a", "a", "a", "a"), answers, ours, by_row=True)

    assert found is not None
    assert (found["rows"], found["won"], found["lost"], found["gain"]) == (2, 1, 1, 0)
    assert found["our_accuracy"] == pytest.approx(0.5)
    assert scoring.compare(rows("a"), [None], ours, by_row=True) is None


def test_rows_of_a_group_are_one_piece_of_evidence() -> None:
    labels = ["a"] * 20
    ours = {f"e{i}": {"a": 1.0} for i in range(20)}
    answers = [answer("b")] * 20

    by_row = scoring.compare(rows(*labels), answers, ours, by_row=True)
    by_group = scoring.compare(rows(*labels), answers, ours, by_row=False)

    assert by_row is not None
    assert by_group is not None
    assert by_row["p_better"] < by_group["p_better"] < 0.05 < by_row["p_worse"]


def test_of_settings_that_did_equally_well_the_smaller_is_taken() -> None:
    tried = [{"accuracy": 0.5, "shots": 8}, {"accuracy": 0.5, "shots": 0}]

    assert scoring.best(tried)["shots"] == 0
    assert scoring.best([*tried, {"accuracy": 0.6, "shots": 16}])["shots"] == 16
    assert scoring.best([{"accuracy": None, "shots": 4}])["shots"] == 4


def test_settings_on_the_holdout_are_counted() -> None:
    answers = [answer("a", text_id=name) for name in ("e0", "e0", "e1", "other", "other", "other")]

    assert scoring.settings({"e0", "e1"}, answers) == 2
    assert scoring.settings({"e9"}, answers) == 0


def test_latency_is_in_milliseconds() -> None:
    found = scoring.latency([0.1] * 19 + [1.1])

    assert found == pytest.approx({"p50_ms": 100.0, "p95_ms": 150.0, "requests": 20})
    assert scoring.latency([]) is None


# ---- How much is asked


def asked(store: Any, *days_ago: float) -> None:
    store.add_predictions(
        "u",
        [
            Prediction(
                prediction_id=f"p{i}",
                text="t",
                group_id="g",
                customer_id=None,
                label="a",
                probabilities={"a": 1.0},
                model_version="1",
                digest="d",
                predicted_at=NOW - timedelta(days=days),
            )
            for i, days in enumerate(days_ago)
        ],
    )


@pytest.mark.parametrize(
    ("days_ago", "per_day"),
    [((), None), ((0.01, 0.02, 0.03), 3.0), ((1, 2, 4), 0.75), ((10, 40, 50), 0.1), ((31,), None)],
)
def test_volume_is_that_of_the_last_thirty_days(
    home: Home, days_ago: tuple[float, ...], per_day: float | None
) -> None:
    with open_store(home.warehouse) as store:
        asked(store, *days_ago)
        found = volume.answers_per_day(store, "u", until=NOW)

        assert found == (None if per_day is None else pytest.approx(per_day))
        assert volume.answers_per_day(store, "another", until=NOW) is None
