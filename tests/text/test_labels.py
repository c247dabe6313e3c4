"""Which cells are labels, and which spellings are one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.text import label_spelling


@pytest.mark.parametrize(
    ("cell", "label"),
    [
        (" Billing\u00a0", "Billing"),
        ("\ufeffBilling\u200b ", "Billing"),
        ("Cafe\u0301", "Café"),
        ("NA", "NA"),
        ("null", "null"),
        ("01", "01"),
        ("1.0", "1.0"),
        (1.0, "1"),
        (2.5, "2.5"),
        (7, "7"),
        (True, "true"),
        (False, "false"),
        (None, None),
        (math.nan, None),
        ("", None),
        (" \u200b", None),
    ],
)
def test_a_cell_is_the_label_that_stands_in_it(cell: object, label: str | None) -> None:
    assert label_spelling.written(cell) == label


@pytest.mark.parametrize("cell", [["a"], {"a": 1}, ("a",), "a\0b", "\ud800"])
def test_a_structure_or_a_broken_text_is_no_label(cell: object) -> None:
    with pytest.raises(ValueError, match=r"structure|NUL|broken"):
        label_spelling.written(cell)


def test_labels_alike_are_found_and_others_are_not() -> None:
    counts = {"billing": 2, "Billing": 9, "BILLING": 1, "Bill": 3, "01": 1, "1": 1, "Café": 1}
    assert label_spelling.alike(counts) == [("Billing", "billing", "BILLING")]
    assert label_spelling.alike({"bill": 2, "bi\u200bll": 1}) == [("bill", "bi\u200bll")]


def test_numbers_are_in_their_order_and_words_by_how_common_they_are() -> None:
    stars = {"5": 90, "10": 3, "1": 10}
    assert label_spelling.ordered(stars, stars) == ["1", "5", "10"]
    words = {"zebra": 5, "apple": 1, "moon": 9, "nan": 1}
    assert label_spelling.ordered(words, words) == ["moon", "zebra", "apple", "nan"]


@given(st.text())
def test_trimming_twice_is_trimming_once(label: str) -> None:
    assert label_spelling.trimmed(label_spelling.trimmed(label)) == label_spelling.trimmed(label)


@pytest.mark.parametrize("text", ["", " ", "\u00a0", "\u200b", "\ufeff", "\u2060\u200b", "\0"])
def test_what_shows_nothing_is_blank(text: str) -> None:
    assert label_spelling.is_blank(text)


@pytest.mark.parametrize("text", ["N/A", "-", "n/a ", "…", "null", "--"])
def test_what_stands_for_a_missing_text_is_known(text: str) -> None:
    assert label_spelling.is_placeholder(text)
    assert not label_spelling.is_blank(text)


@pytest.mark.parametrize("text", ["👍", "ok", "很好", "да", "5", "c++"])
def test_a_short_text_is_a_text(text: str) -> None:
    assert not label_spelling.is_placeholder(text)


def test_characters_that_nobody_sees_tell_no_labels_apart() -> None:
    assert label_spelling.match("bil\u200bling", ("billing", "delivery")) == "billing"
    assert label_spelling.match("\u2060Bil\u00adling", ("billing",)) == "billing"
    both = ("re\u200cset", "reset")
    assert [label_spelling.match(one, both) for one in both] == list(both)
    assert label_spelling.match("re\u200dset", both) is None
