"""Written answers are marked by the words that they share with what people wanted."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.errors import DataError, NotEnoughData
from flywheel.evaluation import baselines, rouge

text = st.text(alphabet="ab c.é", max_size=30)


def test_the_numbers_are_those_of_the_paper() -> None:
    # Lin 2004, section 3: "police kill the gunman" has an LCS of 2 with the reference
    found = rouge.share("police kill the gunman", ["police killed the gunman"])
    assert found.rouge_1 == pytest.approx(3 / 4)
    assert found.rouge_2 == pytest.approx(1 / 3)
    assert found.rouge_l == pytest.approx(3 / 4)
    turned = rouge.share("the gunman kill police", ["police killed the gunman"])
    assert turned.rouge_l == pytest.approx(2 / 4)


def test_of_several_references_each_measure_takes_the_best() -> None:
    one, other = "the dog barks", "a cat sleeps all day"
    both = rouge.share("a cat sleeps", [one, other])
    assert both == rouge.share("a cat sleeps", [other])
    assert both.rouge_l > rouge.share("a cat sleeps", [one]).rouge_l


@pytest.mark.parametrize(
    ("answer", "reference"),
    [("Grüße aus Köln", "grüße AUS köln"), ("今日は雨", "今日は晴"), ("Привет мир", "привет мир")],
)
def test_words_of_any_script_count(answer: str, reference: str) -> None:
    assert rouge.share(answer, [reference]).rouge_1 >= 0.75


@given(answer=text, reference=text)
def test_a_share_is_a_share_and_the_same_text_has_all(answer: str, reference: str) -> None:
    found = rouge.share(answer, [reference])
    assert all(0 <= value <= 1 for value in vars(found).values())
    same = rouge.share(reference, [reference])
    assert same.rouge_l in (0.0, 1.0)
    assert rouge.likeness(reference, reference) == 1.0
    assert rouge.exact(f" {reference.upper()} ", [reference.upper()])


def test_a_report_pairs_rows_and_says_nothing_of_labels() -> None:
    found = rouge.report(
        digest="d",
        gold={"b": ["the dog barks"], "a": ["a cat"]},
        answers={"a": {"A  CAT": 1.0}, "b": {"the dog sleeps": 1.0}, "c": {"x": 1.0}},
        latency_ms=3.0,
    )
    assert found.example_ids == ("a", "b")
    assert found.correct == (True, False)
    assert found.accuracy == 0.5
    assert found.row_scores == pytest.approx((1.0, 2 / 3))
    assert found.score == pytest.approx(5 / 6)
    assert (found.macro_f1, found.log_loss, found.calibration_error) == (None, None, None)
    assert "dog" not in repr(found), "a customer's words stand in a repr"


@pytest.mark.parametrize(
    ("gold", "answers", "latency_ms", "fault"),
    [
        ({}, {}, 1.0, NotEnoughData),
        ({"a": ["x"]}, {}, 1.0, DataError),
        ({"a": ["x"]}, {"a": {"x": 0.5, "y": 0.5}}, 1.0, DataError),
        ({"a": ["x"]}, {"a": {}}, 1.0, DataError),
        ({"a": []}, {"a": {"x": 1.0}}, 1.0, DataError),
        ({"a": ["x"]}, {"a": {"x": 1.0}}, math.nan, DataError),
    ],
)
def test_what_cannot_be_marked_is_refused(
    gold: dict[str, list[str]],
    answers: dict[str, dict[str, float]],
    latency_ms: float,
    fault: type[Exception],
) -> None:
    with pytest.raises(fault):
        rouge.report(digest="d", gold=gold, answers=answers, latency_ms=latency_ms)


def test_the_lead_is_the_first_sentences_and_lines_end_them() -> None:
    said = "Ann: Hello! How are you?\nBen: Fine.\n\nAnn: Good."
    assert baselines.lead(said, sentences=1) == "Ann: Hello!"
    assert baselines.lead(said, sentences=3) == "Ann: Hello! How are you? Ben: Fine."
    assert baselines.lead("no end", sentences=3) == "no end"
