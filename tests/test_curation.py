"""Curation accounts for every reaction and lets nothing leak into or out of the exam."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.config import CurationConfig
from flywheel.curation import curate
from flywheel.errors import DataError
from flywheel.records import Curated, Reaction, Split
from flywheel.text import text_id

LABELS = ("good", "bad")
RULES = CurationConfig(gold_sources=["gold"], min_agreement=0.5, min_chars=3, max_chars=12)
SPLITS: dict[str, Split] = {
    "t1": "train",
    "t2": "train",
    "v1": "validation",
    "e1": "exam",
    "e2": "exam",
}
START = datetime(2024, 1, 1, tzinfo=UTC)


def reaction(feedback_id: str, **given: Any) -> Reaction:
    minutes = given.pop("minutes", 0)
    usual: dict[str, Any] = {
        "kind": "label",
        "value": "good",
        "text": "hello",
        "group_id": "t1",
        "rater_id": "r1",
        "source": "app",
        "given_at": START + timedelta(minutes=minutes),
    }
    return Reaction(feedback_id=feedback_id, **{**usual, **given})


def curated(*reactions: Reaction, rules: CurationConfig = RULES) -> Curated:
    return curate(reactions, splits=SPLITS, labels=LABELS, rules=rules)


def drops(result: Curated) -> dict[str, str]:
    return {drop.feedback_id: drop.reason for drop in result.drops}


one_reaction = st.builds(
    reaction,
    st.just(""),
    kind=st.sampled_from(("accept", "reject", "correct", "rate", "comment", "label")),
    value=st.sampled_from(("good", "bad", "ugly", None)),
    text=st.sampled_from(("Hello", "hello ", "HELLO", "abc", "xyz", "x", "a long long text")),
    group_id=st.sampled_from(sorted(SPLITS)),
    rater_id=st.sampled_from(("r1", "r2", "r3")),
    source=st.sampled_from(("app", "gold")),
    minutes=st.integers(0, 3),
    predicted_label=st.sampled_from(("good", "bad", None)),
)


@st.composite
def many_reactions(draw: st.DrawFn) -> list[Reaction]:
    drawn = draw(st.lists(one_reaction, max_size=30))
    return [Reaction(**{**vars(r), "feedback_id": f"f{i}"}) for i, r in enumerate(drawn)]


@given(many_reactions(), st.randoms(use_true_random=False))
def test_order_does_not_matter(reactions: list[Reaction], rng: random.Random) -> None:
    shuffled = rng.sample(reactions, len(reactions))
    assert curated(*shuffled) == curated(*reactions)


@given(many_reactions())
def test_every_reaction_is_accounted_once(reactions: list[Reaction]) -> None:
    result = curated(*reactions)
    used = [feedback_id for example in result.examples for feedback_id in example.feedback_ids]
    left_out = [drop.feedback_id for drop in result.drops]
    assert sorted(used + left_out) == sorted(r.feedback_id for r in reactions)


@given(many_reactions())
def test_curating_the_survivors_again_changes_nothing(reactions: list[Reaction]) -> None:
    first = curated(*reactions)
    gone = drops(first)
    again = curated(*(r for r in reactions if r.feedback_id not in gone))
    assert again == Curated(examples=first.examples, drops=())


@given(many_reactions())
def test_nothing_straddles(reactions: list[Reaction]) -> None:
    by_id = {r.feedback_id: r for r in reactions}
    result = curated(*reactions)
    exam_texts = {text_id(r.text) for r in reactions if SPLITS[r.group_id] == "exam"}
    ids = [example.example_id for example in result.examples]
    assert len(set(ids)) == len(ids)
    assert ids == sorted(ids)
    for example in result.examples:
        assert example.example_id == text_id(example.text)
        assert example.split == SPLITS[example.group_id]
        assert (example.split == "exam") == (example.example_id in exam_texts)
        sources = {by_id[feedback_id].source for feedback_id in example.feedback_ids}
        assert sources == ({"gold"} if example.split == "exam" else {"app"})


@pytest.mark.parametrize(
    ("given_reaction", "reason"),
    [
        ({"kind": "reject"}, "no_label"),
        ({"kind": "rate", "value": "5"}, "no_label"),
        ({"kind": "comment", "value": "good"}, "no_label"),
        ({"kind": "correct", "value": None}, "no_label"),
        ({"kind": "accept", "predicted_label": None}, "no_label"),
        ({"value": "ugly", "text": "x"}, "unknown_label"),
        ({"text": " x  "}, "too_short"),
        ({"text": "x" * 13}, "too_long"),
        ({"group_id": "e1"}, "not_gold"),
        ({"source": "gold"}, "gold_outside_exam"),
        ({"source": "gold", "group_id": "v1"}, "gold_outside_exam"),
    ],
)
def test_reason_for_one_reaction(given_reaction: dict[str, Any], reason: str) -> None:
    result = curated(reaction("f", **given_reaction))
    assert (result.examples, drops(result)) == ((), {"f": reason})


@pytest.mark.parametrize("text", ["abc", "x" * 12, "  a   c \n"])
def test_length_limits_are_inclusive(text: str) -> None:
    assert len(curated(reaction("f", text=text)).examples) == 1


def test_accept_votes_for_the_served_label() -> None:
    accepted = reaction("f", kind="accept", value=None, predicted_label="bad")
    assert curated(accepted).examples[0].label == "bad"


def test_latest_vote_of_a_rater_wins() -> None:
    result = curated(
        reaction("late", minutes=2, value="bad", text="HELLO", group_id="t2"),
        reaction("early", minutes=1),
        reaction("later-id", minutes=2, value="good"),
    )
    assert drops(result) == {"early": "superseded", "late": "superseded"}
    assert result.examples[0].feedback_ids == ("later-id",)


def test_unusable_vote_displaces_nothing() -> None:
    result = curated(
        reaction("gold", source="gold", group_id="e1"),
        reaction("click", minutes=5, value="bad", group_id="e1"),
        reaction("elsewhere", minutes=6, value="bad", group_id="t1"),
        reaction("gold-elsewhere", minutes=7, value="bad", source="gold", group_id="t1"),
    )
    assert [example.feedback_ids for example in result.examples] == [("gold",)]
    assert drops(result) == {
        "click": "not_gold",
        "elsewhere": "contaminated",
        "gold-elsewhere": "gold_outside_exam",
    }


def test_exam_text_without_label_still_contaminates() -> None:
    result = curated(reaction("seen", kind="reject", group_id="e1"), reaction("copy", text="HELLO"))
    assert drops(result) == {"seen": "no_label", "copy": "contaminated"}


def test_majority_decides_and_dissent_is_counted() -> None:
    result = curated(
        reaction("1", text="hello", group_id="t2"),
        reaction("2", text="Hello", group_id="t1", rater_id="r2"),
        reaction("3", text="hello ", value="bad", rater_id="r3"),
    )
    (example,) = result.examples
    assert (example.text, example.label, example.group_id) == ("Hello", "good", "t1")
    assert example.confidence == pytest.approx(2 / 3)
    assert example.feedback_ids == ("1", "2", "3")


@pytest.mark.parametrize("min_agreement", [0.0, 0.5])
def test_tie_is_disagreement(min_agreement: float) -> None:
    rules = RULES.model_copy(update={"min_agreement": min_agreement})
    result = curated(reaction("1"), reaction("2", value="bad", rater_id="r2"), rules=rules)
    assert drops(result) == {"1": "disagreement", "2": "disagreement"}


def test_agreement_must_exceed_the_limit() -> None:
    votes = [reaction(str(i), rater_id=str(i), value="bad" if i else "good") for i in range(4)]
    at_limit = RULES.model_copy(update={"min_agreement": 0.75})
    assert len(curated(*votes).examples) == 1
    assert set(drops(curated(*votes, rules=at_limit)).values()) == {"disagreement"}


def test_validation_wins_over_train() -> None:
    result = curated(reaction("1"), reaction("2", rater_id="r2", group_id="v1"))
    (example,) = result.examples
    assert (example.split, example.group_id) == ("validation", "v1")
    assert example.feedback_ids == ("1", "2")


def test_repeated_feedback_id_is_refused() -> None:
    with pytest.raises(DataError, match="occur once"):
        curated(reaction("1"), reaction("1"))
