"""Where answers are written, people's texts become references: trusted people's first."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.config import CurationConfig
from flywheel.curation import curate
from flywheel.records import FEEDBACK_KINDS, Curated, Example, Reaction, Split

RULES = CurationConfig(gold_sources=["gold"], trusted_sources=["context"], near_duplicates=1)
SPLITS: dict[str, Split] = {"t1": "train", "t2": "train", "e1": "holdout"}
START = datetime(2024, 1, 1, tzinfo=UTC)


def reaction(feedback_id: str, **given: Any) -> Reaction:
    minutes = given.pop("minutes", 0)
    usual: dict[str, Any] = {
        "kind": "correct",
        "value": "a summary",
        "text": "a long talk",
        "group_id": "t1",
        "rater_id": feedback_id,
        "source": "app",
        "given_at": START + timedelta(minutes=minutes),
    }
    return Reaction(feedback_id=feedback_id, **{**usual, **given})


def curated(*reactions: Reaction, rules: CurationConfig = RULES) -> Curated:
    return curate(reactions, splits=SPLITS, labels=(), rules=rules)


def drops(result: Curated) -> dict[str, str]:
    return {drop.feedback_id: drop.reason for drop in result.drops}


def only(result: Curated) -> Example:
    (example,) = result.examples
    return example


def test_the_newest_edit_of_one_person_is_the_reference() -> None:
    result = curated(
        reaction("old", value="first", rater_id="ann"),
        reaction("new", value="second", minutes=5, rater_id="ann"),
    )
    assert only(result).label == "second"
    assert only(result).feedback_ids == ("new",)
    assert drops(result) == {"old": "superseded"}


def test_nobody_overrides_a_reference_by_being_the_last_or_by_setting_the_time_back() -> None:
    ann = reaction("ann", value="ann's", minutes=5, arrived=1)
    for minutes in (-5, 9):
        mallory = reaction("mallory", value="other", minutes=minutes, arrived=2)
        result = curated(mallory, ann)
        assert only(result).label == "ann's"
        assert drops(result) == {"mallory": "other_reference"}
    revised = reaction("ann-2", value="ann's own", rater_id="ann", minutes=10, arrived=3)
    assert only(curated(ann, mallory, revised)).label == "ann's own", "she keeps her place"


def test_a_reference_that_more_people_name_is_taken_and_one_key_is_one_of_them() -> None:
    ann = reaction("ann", value="ann's", arrived=1)
    two = [reaction(name, value="Other", arrived=2, minutes=1) for name in ("bob", "eve")]
    result = curated(ann, *two)
    assert only(result).label == "Other"
    assert only(result).feedback_ids == ("bob", "eve")
    keyed = [
        reaction(f"mallory/{name}", value="Other", rater_id=f"mallory/{name}", arrived=2)
        for name in ("bob", "eve")
    ]
    one_key = [replace(one, customer_id="mallory") for one in keyed]
    assert only(curated(ann, *one_key)).label == "ann's"


def test_a_trusted_person_s_newest_reference_is_taken_however_many_others_differ() -> None:
    others = [reaction(name, value="theirs", arrived=1) for name in ("ann", "bob")]
    context = [
        reaction(f"context-{n}", value=f"ours {n}", source="context", minutes=n, arrived=2 + n)
        for n in (1, 2)
    ]
    assert only(curated(*others, *context)).label == "ours 2"


def test_a_trusted_person_is_heard_before_a_newer_one() -> None:
    result = curated(
        reaction("context", value="ours", source="context"),
        reaction("new", value="theirs", minutes=5),
    )
    assert only(result).label == "ours"


def test_an_accepted_answer_is_a_reference_and_who_agrees_is_kept() -> None:
    result = curated(
        reaction("one", kind="accept", value=None, predicted_label="The answer"),
        reaction("two", kind="correct", value="the  answer", minutes=1),
    )
    assert only(result).label == "The answer"
    assert only(result).feedback_ids == ("one", "two")


def test_a_rejection_teaches_nothing_and_takes_away_what_it_outweighs() -> None:
    no = reaction("no", kind="reject", value=None, predicted_label="bad", minutes=1)
    assert drops(curated(no)) == {"no": "only_rejected"}
    yes = reaction("yes", kind="accept", value=None, predicted_label="bad")
    assert drops(curated(yes, no)) == {"no": "disagreement", "yes": "disagreement"}
    other = reaction("other", value="good", minutes=2)
    result = curated(no, other)
    assert only(result).label == "good"
    assert drops(result) == {"no": "only_rejected"}


def test_the_holdout_takes_only_what_was_written_without_an_answer_in_sight() -> None:
    gold = {"group_id": "e1", "source": "gold"}
    result = curated(
        reaction("label", kind="label", value="written", **gold),
        reaction("edit", kind="correct", value="edited", minutes=5, **gold),
        reaction("yes", kind="accept", value=None, predicted_label="served", minutes=6, **gold),
    )
    assert only(result).label == "written"
    assert only(result).split == "holdout"
    assert drops(result) == {"edit": "answer_in_sight", "yes": "answer_in_sight"}


def test_personal_data_leaves_references_as_well() -> None:
    result = curated(reaction("one", value="Write to ann@example.com today."))
    assert only(result).label == "Write to [EMAIL] today."


def test_copies_of_one_text_weigh_as_one_whatever_is_wanted() -> None:
    rules = RULES.model_copy(update={"near_duplicates": 0.5, "max_customer_share": 1.0})
    talk = "the customer asks when the order number {} that was placed last week will be there"
    result = curated(
        *(reaction(f"r{i}", text=talk.format(i), value=f"summary {i}") for i in range(3)),
        rules=rules,
    )
    assert [example.weight for example in result.examples] == [pytest.approx(1 / 3, abs=1e-5)] * 3


def test_the_rules_on_labels_are_switched_off_and_say_why() -> None:
    steps = {step.rule: step for step in curated(reaction("one")).steps}
    for rule in ("poison", "label_noise"):
        assert not steps[rule].on
        assert "no labels" in steps[rule].detail


one_reaction = st.builds(
    reaction,
    st.just(""),
    kind=st.sampled_from(FEEDBACK_KINDS),
    value=st.sampled_from(("first", "Second", "second ", None)),
    text=st.sampled_from(("Hello", "hello ", "abc", "x")),
    group_id=st.sampled_from(sorted(SPLITS)),
    rater_id=st.sampled_from(("r1", "r2", "r3")),
    source=st.sampled_from(("app", "gold", "context")),
    minutes=st.integers(0, 3),
    predicted_label=st.sampled_from(("first", "third", None)),
)


@given(st.lists(one_reaction, max_size=20), st.randoms())
def test_every_reaction_ends_once_and_order_does_not_matter(
    drawn: list[Reaction], random: Any
) -> None:
    reactions = [replace(one, feedback_id=f"f{i}") for i, one in enumerate(drawn)]
    result = curated(*reactions)
    ended = [*(d.feedback_id for d in result.drops)]
    ended += [name for example in result.examples for name in example.feedback_ids]
    assert sorted(ended) == sorted(one.feedback_id for one in reactions)
    random.shuffle(reactions)
    assert curated(*reactions) == result
    assert all(example.label for example in result.examples)
