"""Raw rows: what is taken, what is refused, and that the reason never quotes the customer."""

from __future__ import annotations

import contextlib
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flywheel.errors import DataError
from flywheel.ingestion.feedback import parse_feedback, text_group
from flywheel.ingestion.labeled_rows import Labeled, feedback_rows, reactions
from tests.strategies import LABELS, broken_feedback, raw_feedback, row


@given(raw_feedback())
def test_a_valid_row_is_taken_as_it_is(raw: dict[str, Any]) -> None:
    feedback = parse_feedback(raw, labels=LABELS)
    for name in ("kind", "rater_id", "source", "prediction_id", "text", "value", "customer_id"):
        assert getattr(feedback, name) == raw.get(name)
    assert feedback.given_at == datetime.fromisoformat(raw["given_at"])
    assert feedback.given_at.utcoffset() == UTC.utcoffset(None)
    assert (feedback.group_id is None) == (feedback.text is None and "group_id" not in raw)


@given(broken_feedback() | st.dictionaries(st.text(), st.text() | st.none() | st.binary()))
@example(row(text="\ud800"))
@example(row(given_at="0001-01-01T00:00:00+14:00"))
@example(row(given_at="9999-12-31T23:59:59-14:00"))
def test_a_broken_row_raises_nothing_but_data_error(raw: dict[str, Any]) -> None:
    with contextlib.suppress(DataError):
        parse_feedback(raw, labels=LABELS)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": "applaud"}, "kind is unknown; expected one of accept, reject"),
        ({"kind": None}, "kind is missing"),
        ({"kind": 3}, "kind must be a string, found int"),
        ({"given_at": None}, "given_at is missing"),
        ({"given_at": "yesterday"}, "not an ISO-8601"),
        ({"given_at": "2026-01-02T03:04:05"}, "no time zone"),
        ({"given_at": "2026-01-02"}, "no time zone"),
        ({"given_at": "0001-01-01T00:00:00+14:00"}, "years 1 to 9999"),
        ({"rater_id": " "}, "rater_id is missing or empty"),
        ({"source": None}, "source is missing"),
        ({"text": None}, "prediction_id or text is required"),
        ({"text": "a\0b"}, "text holds a NUL byte"),
        ({"text": "\ud800"}, "text is not valid UTF-8"),
        ({"text": ["a"]}, "text must be a string, found list"),
        ({"value": None}, "value of label is missing"),
        ({"value": "Cart"}, "value of label must be one of card, cash, other"),
        ({"kind": "correct", "value": "sofa"}, "value of correct must be one of"),
        ({"kind": "accept"}, "accept takes no value"),
        ({"kind": "rate", "value": "good"}, "rate must be a number"),
        ({"kind": "rate", "value": "nan"}, "rate must be a finite number"),
        ({"kind": "rate", "value": [4]}, "value must be a string, found list"),
        ({"kind": "rate", "value": math.inf}, "value must be a string, found float"),
        ({"kind": "accept", "value": True}, "accept takes no value"),
        ({"customer_id": "c" * 513}, "customer_id has 513 characters"),
    ],
)
def test_the_reason_names_the_field_and_the_rule(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        parse_feedback(row(**changes), labels=LABELS)


@pytest.mark.parametrize(
    ("kind", "value", "meant"),
    [
        ("label", True, "true"),
        ("correct", False, "False"),
        ("label", 1, "1"),
        ("label", 1.0, "1"),
        ("rate", 4, "4"),
        ("rate", 4.5, "4.5"),
    ],
)
def test_a_value_may_be_a_boolean_or_a_number(kind: str, value: object, meant: str) -> None:
    """As an app's JSON has them, and as `init` reads the same."""
    labels = ("true", "False", "1")
    assert parse_feedback(row(kind=kind, value=value), labels=labels).value == meant


@pytest.mark.parametrize("value", ["card", " Card", "CARD\u00a0", "\ufeffcard", "\uff43ard"])
def test_a_label_in_another_spelling_is_that_label(value: str) -> None:
    assert parse_feedback(row(value=value), labels=LABELS).value == "card"


def test_two_labels_that_differ_in_case_are_told_apart() -> None:
    labels = ("Card", "card")
    assert parse_feedback(row(value="Card "), labels=labels).value == "Card"
    with pytest.raises(DataError, match="one of Card, card"):
        parse_feedback(row(value="CARD"), labels=labels)


@pytest.mark.parametrize("field", ["kind", "value", "given_at"])
def test_the_reason_never_quotes_the_row(field: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_feedback(row(**{field: "my pin is 1234"}), labels=LABELS)
    assert "1234" not in str(caught.value)
    assert "1234" not in str(caught.value.facts)


@given(raw_feedback())
def test_a_missing_id_is_a_hash_of_the_content(raw: dict[str, Any]) -> None:
    raw.pop("feedback_id", None)
    first = parse_feedback(raw, labels=LABELS)
    again = parse_feedback(dict(reversed(raw.items())), labels=LABELS)
    other = parse_feedback(raw | {"rater_id": raw["rater_id"] + "x"}, labels=LABELS)
    assert first == again
    assert len(first.feedback_id) == 32
    assert first.feedback_id != other.feedback_id


def test_one_instant_in_two_zones_is_one_feedback() -> None:
    utc = parse_feedback(row(feedback_id=None, given_at="2026-01-02T03:00:00Z"), labels=LABELS)
    paris = parse_feedback(
        row(feedback_id=None, given_at="2026-01-02T04:00:00+01:00"), labels=LABELS
    )
    assert utc == paris


def test_texts_that_differ_in_case_and_spaces_share_a_group() -> None:
    assert text_group(" Where IS\tmy card ") == text_group(
        "where is my \N{FULLWIDTH LATIN SMALL LETTER C}ard"
    )
    assert text_group("where is my card") != text_group("where is my cash")


def test_a_text_without_a_group_is_its_customers_as_in_the_file_given_to_init() -> None:
    of_file = Labeled(1, "moja karta", "card", group="48213", customer="48213")
    theirs = feedback_rows([of_file], given_at=datetime(2026, 1, 1, tzinfo=UTC))
    served = {name: value for name, value in row(text="x").items() if name != "group_id"}
    later = parse_feedback(served | {"customer_id": "48213"}, labels=LABELS)
    assert later.group_id == parse_feedback(theirs[0], labels=LABELS).group_id == "48213"
    named = parse_feedback(served | {"customer_id": "48213", "group_id": "c-1"}, labels=LABELS)
    alone = parse_feedback(served, labels=LABELS)
    assert (named.group_id, alone.group_id) == ("c-1", text_group("x"))


def test_a_file_whose_customers_are_no_groups_keeps_each_text_a_group() -> None:
    rows = [Labeled(n, text, "card", customer="48213") for n, text in enumerate(("a", "b"))]
    sent = feedback_rows(rows, given_at=datetime(2026, 1, 1, tzinfo=UTC))
    taken = [parse_feedback(one, labels=LABELS).group_id for one in sent]
    assert taken == [one.group_id for one in reactions(sent)] == [text_group("a"), text_group("b")]


def test_a_row_sent_again_keeps_its_id_though_its_customer_is_its_group_now() -> None:
    """The id is that which rows had when each text was its own group."""
    sent = {
        "kind": "label", "value": "card", "text": "x", "customer_id": "48213",
        "rater_id": "ann", "source": "app", "given_at": "2026-01-02T03:04:05+00:00",
    }  # fmt: skip
    assert parse_feedback(sent, labels=LABELS).feedback_id == "ee0b0c7905748f56e5a55d89d706c715"
