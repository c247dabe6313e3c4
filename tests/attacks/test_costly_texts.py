"""Nobody makes a night long with a text: limits come first, and work grows with the length only."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from flywheel.config import CurationConfig
from flywheel.curation import curate
from flywheel.records import Reaction
from flywheel.text import pii


def numbers(count: int, between: str) -> str:
    return between.join(f"030 {1_000_000 + 7 * n}" for n in range(count))


@pytest.mark.parametrize("between", ["  ", " ", "\n", "/", ") (", ", ", "  id ", " 10.1.2.3 "])
def test_a_comment_of_phone_like_numbers_costs_what_its_length_costs(
    between: str,
) -> None:
    text = numbers(400, between)
    done = pii.redact(text)
    assert done.checked <= pii.MOST_CHECKED
    assert done.looked_at <= pii.MOST_LOOKS * len(text)
    assert pii.redact(done.text).text == done.text


def test_every_number_of_a_list_is_hidden_also_those_that_are_not_checked() -> None:
    done = pii.redact(numbers(400, ", "))
    assert done.text == ", ".join(["[PHONE]"] * 400)
    assert pii.redact(done.text).text == done.text


def test_a_text_too_long_to_be_learned_from_is_not_searched() -> None:
    rules = CurationConfig(gold_sources=["gold"], max_chars=2_000)
    long = numbers(2_000, "  ")
    found = curate(
        [
            Reaction(
                feedback_id=f"f{n}",
                kind="label",
                value="good",
                text=text,
                group_id="t1",
                rater_id=f"r{n}",
                source="app",
                given_at=datetime(2026, 1, 1, tzinfo=UTC),
            )
            for n, text in enumerate([long, "call 030 1234567 please"])
        ],
        splits={"t1": "train"},
        labels=("good", "bad"),
        rules=rules,
    )
    assert {drop.feedback_id: drop.reason for drop in found.drops} == {"f0": "too_long"}
    assert [example.text for example in found.examples] == ["call [PHONE] please"]
    assert {step.rule: step.changed for step in found.steps}["personal_data"] == 1
