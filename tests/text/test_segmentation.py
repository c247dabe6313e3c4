"""Words in every script: marks belong to them, and characters count where no spaces part them."""

# ruff: noqa: RUF001

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flywheel.config import UseCase
from flywheel.evaluation import baselines, rouge
from flywheel.evaluation.baselines import tfidf_logistic
from flywheel.modeling import artifact
from flywheel.modeling.methods import Rows, Work, tfidf
from flywheel.text import segmentation

WORDS = {
    "Hindi": ("मेरा पार्सल", ["मेरा", "पार्सल"]),
    "Tamil": ("என் பொதி", ["என்", "பொதி"]),
    "Arabic": ("كَتَبَ الولد", ["كَتَبَ", "الولد"]),
    "Persian": ("می\u200cخواهم", ["میخواهم"]),
    "Thai": ("ที่นี่", ["ที่", "นี่"]),
    "Chinese": ("退款2次", ["退", "款", "2", "次"]),
    "Japanese": ("カード・紛失", ["カ", "ー", "ド", "紛", "失"]),
    "Korean": ("환불 요청", ["환불", "요청"]),
    "German": ("Größe, 42 cm_x", ["Größe", "42", "cm", "x"]),
    "emoji": ("gut \U0001f44d\U0001f3fd!", ["gut"]),
}


@pytest.mark.parametrize("script", WORDS)
def test_words_keep_their_marks(script: str) -> None:
    text, expected = WORDS[script]
    assert segmentation.words(text) == expected


@given(
    st.text(
        st.sampled_from("ab_1éß漢😀 .,\u200d\u200b\ufe0f\u0301\u093e\u0915\u0903жкل\u064e²\u2776")
    )
)
@example("a\u0301_\u0301b \u0301c")
def test_scripts_with_spaces_are_read_at_once_as_character_by_character(text: str) -> None:
    """A text with a Chinese character in it is read the long way."""
    assert segmentation.words(f"{text} 今") == [*segmentation.words(text), "今"]
    assert segmentation.terms(f"{text} 今") == [*segmentation.terms(text), "今"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("की", "का", id="Hindi"),
        pytest.param("கை", "கா", id="Tamil"),
        pytest.param("كَتَبَ", "كُتِبَ", id="Arabic"),
        pytest.param("ที่", "ทั่", id="Thai"),
    ],
)
def test_words_that_differ_in_a_vowel_share_nothing(one: str, other: str) -> None:
    assert rouge.share(one, [other]).rouge_1 == 0.0
    assert rouge.share(one, [one]).rouge_1 == 1.0


def test_an_answer_without_spaces_is_marked_by_its_characters() -> None:
    # five in order, of seven and of eight, each with its vowel
    assert rouge.share("ส่งของช้า", ["ส่งของเร็ว"]).rouge_l == pytest.approx(10 / 15)
    assert rouge.share("今天没有收到", ["今天收到了"]).rouge_l == pytest.approx(8 / 11)


HAPPY, SAD, THUMB = "\U0001f600", "\U0001f622", "\U0001f44d"


def test_emoji_are_terms_and_a_tone_of_skin_is_none() -> None:
    assert segmentation.terms(f"{HAPPY}{THUMB}\U0001f3fd{SAD}") == [
        *(HAPPY, THUMB, SAD),
        *(HAPPY + THUMB, THUMB + SAD),
        HAPPY + THUMB + SAD,
    ]
    # a heart is written with a sign for colour, or without it
    assert segmentation.terms("\u2764\ufe0f") == segmentation.terms("\u2764") == ["\u2764"]
    assert segmentation.terms(f"so good {HAPPY}!") == ["so", "good", "so good", HAPPY]
    assert segmentation.words(f"so good {HAPPY}!") == ["so", "good"]


def test_digits_in_circles_stay_in_their_words() -> None:
    """As in the vocabulary of a version from before there were emoji."""
    assert segmentation.terms("\u2776open \u2780\u2781") == [
        *("\u2776open", "\u2780\u2781"),
        "\u2776open \u2780\u2781",
    ]


def test_texts_of_emoji_alone_are_told_apart() -> None:
    train = [(HAPPY * n, "good") for n in (1, 2, 3)] + [(SAD * n, "bad") for n in (1, 2, 3)]
    answers = tfidf_logistic(train, [HAPPY * 4, f"{SAD} {SAD}"], ("bad", "good"))
    assert answers[0]["good"] > 0.6
    assert answers[1]["bad"] > 0.6


@given(st.text(f"ab \n坏了ครับ_-0{HAPPY}{THUMB}\U0001f3fd", max_size=30))
@example("ค\U0001f3fdั")
def test_a_version_that_knows_no_emoji_has_the_terms_that_it_knew(text: str) -> None:
    """Emoji are terms beside those of the words; those of a vocabulary without them stay."""
    bare = re.sub(f"[{HAPPY}{THUMB}\U0001f3fd]", "\u00a4", text)
    known = Counter(segmentation.terms(bare))
    found = Counter(segmentation.terms(text))
    assert {term: count for term, count in found.items() if term in known} == known


@given(st.text("abz AZ_0 .,-'\näöüßéñčœЖя", max_size=40))
def test_european_texts_have_the_terms_that_they_always_had(text: str) -> None:
    before = baselines.vectorizer(by_script=False).build_analyzer()
    assert sorted(segmentation.terms(text)) == sorted(before(text))


THAI = {"late": "ของส่งช้ามาก", "broken": "กล่องมันพังแล้ว", "refund": "ขอเงินคืนด้วย"}
CHINESE = {"late": "怎么还没送到", "broken": "东西已经坏了", "refund": "请退钱给我"}


@pytest.mark.parametrize("said", [THAI, CHINESE], ids=["Thai", "Chinese"])
def test_the_baseline_reads_languages_without_spaces(said: dict[str, str]) -> None:
    openings = {THAI["late"]: "สวัสดีครับ", CHINESE["late"]: "您好麻烦看看"}[said["late"]]
    train = [
        (f"{openings[: n + 1]}{text}{openings[n:]}", label)
        for n in range(5)
        for label, text in said.items()
    ]
    asked = [(f"{openings[2:]}{openings}{text}", label) for label, text in said.items()]
    answers = tfidf_logistic(train, [text for text, _ in asked], tuple(said))
    assert [max(one, key=one.__getitem__) for one in answers] == [label for _, label in asked]


def test_a_version_from_before_keeps_its_words(use_case: UseCase, tmp_path: Path) -> None:
    texts, labels = ["very good", "so bad", "it is fine"] * 2, [[2], [0], [1]] * 2
    work = Work(
        use_case=use_case,
        base=None,
        rows=Rows(texts, labels, [1.0] * 6),
        folder=tmp_path,
        max_tokens=9,
        on_step=print,
    )
    fitted = tfidf.METHOD.train(work)
    vocabulary = tmp_path / artifact.VOCABULARY
    content = json.loads(vocabulary.read_text())
    asked = ["good fine", "坏", "bad"]
    expected, _ = fitted.answerer.answer(asked)
    vocabulary.write_text(json.dumps(content["words"]))
    old = tfidf.METHOD.load(use_case, None, tmp_path)
    assert old.answer(asked)[0] == expected
    assert old.vectorizer.build_analyzer()("东西 坏了") == ["东西", "坏了", "东西 坏了"]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("今天没送到。很生气！谢谢", "今天没送到。"),
        ("पार्सल नहीं आया। धन्यवाद", "पार्सल नहीं आया।"),
        ("أين طردي؟ شكرا", "أين طردي؟"),
        ("It is 3.5 late. Thanks", "It is 3.5 late."),
    ],
)
def test_the_first_sentence_ends_where_its_script_ends_one(text: str, first: str) -> None:
    assert baselines.lead(text, sentences=1) == first
