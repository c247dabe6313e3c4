"""A text is foreign only with confidence, and cut off only with proof."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.errors import ConfigError
from flywheel.text.language_id import foreign, truncated

ENGLISH = "The delivery came two days late, but the support was very friendly."
FOREIGN = [
    "Die Lieferung kam zwei Tage zu spät, aber der Support war freundlich.",
    "La livraison est arrivée deux jours en retard mais le support était sympa.",
    "Leveringen kom to dage for sent, men supporten var venlig og hurtig.",
    "El paquete llegó dos días tarde pero el soporte fue muy amable conmigo.",
    "荷物は二日遅れて届きましたが、サポートの対応はとても親切でした。ありがとうございました。",
]


@pytest.mark.parametrize("text", FOREIGN)
def test_a_text_in_another_language_is_foreign(text: str) -> None:
    assert foreign(text, languages=["en"])
    assert not foreign(text, languages=["en", "de", "fr", "da", "es", "ja"])


@pytest.mark.parametrize(
    "text",
    [
        ENGLISH,
        ENGLISH.upper(),
        "omg luv dis product sooo much gonna buy anotha 1 4 my sis lol",
        "Samsung Galaxy S24 Ultra 256GB Titanium Black SM-S928B/DS unlocked",
        "Sehr gut!",
        "12345 67890 12345 67890 12345 67890 12345 67890 12345 67890",
        "",
    ],
)
def test_a_served_short_or_doubtful_text_is_not_foreign(text: str) -> None:
    assert not foreign(text, languages=["en"])


@given(st.text())
def test_without_languages_nothing_is_foreign(text: str) -> None:
    assert not foreign(text, languages=[])


@given(st.text(max_size=39))
def test_short_texts_are_never_foreign(text: str) -> None:
    assert not foreign(text, languages=["en"])


@given(st.text(min_size=40, alphabet=st.characters()))
def test_any_text_can_be_judged(text: str) -> None:
    assert foreign(text, languages=["en"]) in (True, False)


def test_a_language_that_cannot_be_recognised_is_refused_before_any_text() -> None:
    with pytest.raises(ConfigError, match="'english'"):
        foreign("", languages=["en", "english"])


@pytest.mark.parametrize("text", ["thank yo\ufffd", "nice \ud83d", "family \U0001f468\u200d \n"])
def test_an_end_inside_a_character_is_a_cut(text: str) -> None:
    assert truncated(text)


@pytest.mark.parametrize("text", ["", "no stop", "well...", "and then…", "\ufffd inside", "👍"])
def test_how_people_write_is_no_cut(text: str) -> None:
    assert not truncated(text)


@given(st.text(min_size=1, alphabet="aé€👍語"), st.integers(1, 3))
def test_cutting_the_bytes_is_seen_exactly_when_a_character_is_cut(text: str, cut: int) -> None:
    left = text.encode()[:-cut]
    whole = left.decode(errors="ignore")
    assert truncated(left.decode(errors="replace")) == (whole.encode() != left)
