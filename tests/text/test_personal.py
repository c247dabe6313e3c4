"""Personal data goes, numbers that are nobody's stay, and no text breaks it."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks import personal as benchmark
from flywheel.stats.paired_tests import wilson_interval
from flywheel.text.pii import KINDS, redact

PLACEHOLDER = re.compile(rf"\[(?:{'|'.join(KINDS)})\]")
# Bits of what the detectors look for, so that drawn texts come close to it.
bits = st.sampled_from(
    [
        "ann",
        "@",
        "example",
        ".",
        "org",
        " (at) ",
        " dot ",
        " at ",
        "com",
        "4111",
        "1111",
        " ",
        "-",
        "+44",
        "20",
        "7946",
        "0958",
        "030",
        "1234567",
        "GB82",
        "WEST",
        "[PHONE]",
        "[",
        "]",
        "EMAIL",
        "10.1.2.3",
        "2001:db8::1",
        ":",
        "/",
        "call ",
        "order ",
        "2024-01-15",
        "(",
        ")",
        "٣",
        "\n",
    ]
)
texts = st.text(max_size=60) | st.lists(bits, max_size=25).map("".join)
names = st.lists(st.sampled_from(["Ann", "ann lee", "Bo", "phone", "EMAIL", "[", ""]), max_size=3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to ann.lee+shop@mail.example.co.uk.", "Write to [EMAIL]."),
        ("ANN@EXAMPLE.ORG", "[EMAIL]"),
        ("ann (at) example dot org, please", "[EMAIL], please"),
        ("ann[at]example.org", "[EMAIL]"),
        ("ann dot lee at mail dot com", "[EMAIL]"),
        ("call +44 20 7946 0958 now", "call [PHONE] now"),
        ("call 2025550143", "call [PHONE]"),
        ("(202) 555-0143 is mine", "[PHONE] is mine"),
        ("my number (030 1234567)", "my number ([PHONE])"),
        ("01 23 45 67 89", "[PHONE]"),
        ("paid with 4111 1111 1111 1111 12/27", "paid with [CARD] 12/27"),
        ("amex 378282246310005", "amex [CARD]"),
        ("IBAN gb82 west 1234 5698 7654 32 please", "IBAN [IBAN] please"),
        ("from 10.1.2.3 and 2001:db8::1.", "from [IP] and [IP]."),
        ("see ?to=ann%40example.org&n=1", "see ?to=[EMAIL]&n=1"),
        ("a\u200bnn@exam\u00adple.org", "[EMAIL]"),
        ("+44 20 79\u200d46 0958", "[PHONE]"),
        ("call 0800-1234 567", "call [PHONE]"),
    ],
)
def test_personal_data_is_replaced_by_its_kind(text: str, expected: str) -> None:
    done = redact(text)
    assert done.text == expected
    assert [f"[{kind}]" for kind in done.found] == PLACEHOLDER.findall(expected)


@pytest.mark.parametrize(
    "text",
    [
        "order 2025550143 of 2024-01-15 cost 1.299,00 € or $1,250.99",
        "card 4111 1111 1111 1112 has a wrong digit",
        "IBAN GB82 WEST 1234 5698 7654 33 has a wrong digit",
        "version 2.1.0.5, Windows 10.0.19045.2965, at 12:30:45 on 127.0.0.1",
        "look at the polka dot dress, logo@2x.png, @ann",
        "ISBN 978-3-16-148410-0, EAN 4006381333931, batch 3847 5098 3473",
        "between 2019-2024, zip 90210-1234, 09:30-18:45",
        "a::b and std::vector",
        "open 0900-1800, 0830 \u2013 1745 on Mondays",
        "0.1234567890 and 3.1415926535",
        "12.500.000 EUR, $ 1 234 567 or 1 234 567 dollars",
        "\u2764\ufe0f of \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "999.1.2.3 is no address",
    ],
)
def test_numbers_that_are_nobodys_stay(text: str) -> None:
    assert redact(text) == redact(text, names=("Zora",))
    assert redact(text).text == text
    assert redact(text).found == ()


def test_names_are_whole_words_of_at_least_three_letters_in_any_case() -> None:
    given_names = ("Ann", "Ann  Lee", "Bo", "O'Brien")
    done = redact("ann lee, ANN's, Annika, Joann, bo and o'brien", names=given_names)
    assert done.text == "[NAME], [NAME]'s, Annika, Joann, bo and [NAME]"
    assert done.found == ("NAME",) * 3


def test_a_name_like_a_placeholder_changes_no_placeholder() -> None:
    done = redact("my Phone is +44 20 7946 0958", names=("phone", "name", "email"))
    assert done.text == "my [NAME] is [PHONE]"
    assert redact(done.text, names=("phone", "name", "email")).text == done.text


def test_only_the_regions_given_are_expected() -> None:
    assert redact("call 030 1234567", regions=("DE",)).text == "call [PHONE]"
    assert redact("call 030 1234567", regions=("US",)).found == ()
    assert redact("call +49 30 1234567", regions=()).text == "call [PHONE]"


@given(texts, names)
@example("[EMA[EMAIL]IL]", [])
@example("\ud800 ann@example.org \udfff", [])
@example("030 1234567 10.1.2.3 030 1234567", [])
def test_any_text_is_redacted_once_and_for_all(text: str, given_names: list[str]) -> None:
    done = redact(text, names=given_names)
    again = redact(done.text, names=given_names)
    assert again.text == done.text
    assert again.found == ()
    assert (done.text == text) == (done.found == ())
    assert len(PLACEHOLDER.findall(done.text)) == len(PLACEHOLDER.findall(text)) + len(done.found)


@given(texts)
def test_what_is_not_personal_stays_in_place(text: str) -> None:
    kept = PLACEHOLDER.split(redact(text).text)
    at = 0
    for piece in kept:
        at = text.index(piece, at) + len(piece)


@pytest.mark.parametrize("text", ["a." * 20_000, "1 " * 20_000, "a@" * 20_000, "(" * 20_000])
def test_long_texts_of_one_pattern_end(text: str) -> None:
    assert redact(text).found == ()


def test_the_record_does_not_show_the_text() -> None:
    assert "secret" not in repr(redact("secret ann@example.org"))


def test_recall_and_precision_on_the_benchmark() -> None:
    figures = benchmark.measure(rows=100, seed=3)
    lowest = wilson_interval(95, 100)[0]
    for kind in KINDS:
        assert figures[kind]["recall"] > lowest  # type: ignore[index]
        assert figures[kind]["precision"] > lowest  # type: ignore[index]
    assert 0 <= figures["harmless_rows_changed"] < 20  # type: ignore[operator]
