"""Curation accounts for every reaction and lets nothing leak into or out of the holdout."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.config import CurationConfig, Golden, Home, UseCase
from flywheel.curation import context, curate
from flywheel.dataset import snapshots
from flywheel.errors import DataError
from flywheel.records import FEEDBACK_KINDS, Curated, Example, Reaction, Split
from flywheel.store import open_store
from flywheel.text.normalize import text_id
from tasks.curate import curate_snapshot
from tasks.ingest import ingest_inbox
from tests.strategies import row

LABELS = ("good", "bad")
RULES = CurationConfig(
    gold_sources=["gold"], min_agreement=0.5, min_chars=3, max_chars=12, near_duplicates=1
)
SPLITS: dict[str, Split] = {
    "t1": "train",
    "t2": "train",
    "v1": "validation",
    "e1": "holdout",
    "e2": "holdout",
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


def curated(
    *reactions: Reaction, rules: CurationConfig = RULES, golden: Sequence[str] = ()
) -> Curated:
    return curate(reactions, splits=SPLITS, labels=LABELS, rules=rules, golden=golden)


def drops(result: Curated) -> dict[str, str]:
    return {drop.feedback_id: drop.reason for drop in result.drops}


one_reaction = st.builds(
    reaction,
    st.just(""),
    kind=st.sampled_from(FEEDBACK_KINDS),
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
def test_the_account_of_the_rules_adds_up(reactions: list[Reaction]) -> None:
    result = curated(*reactions)
    assert [step.rule for step in result.steps] == list(context.RULES)
    assert sum(step.dropped for step in result.steps) == len(result.drops)
    for step in result.steps:
        assert (step.example is not None) == (step.dropped + step.changed > 0)


@given(many_reactions())
def test_weights_lie_between_nothing_and_one(reactions: list[Reaction]) -> None:
    for example in curated(*reactions).examples:
        assert 0 < example.weight <= 1
        assert 0 < example.confidence <= 1
        assert example.split != "holdout" or example.weight == 1


@given(many_reactions())
def test_nothing_straddles(reactions: list[Reaction]) -> None:
    by_id = {r.feedback_id: r for r in reactions}
    result = curated(*reactions)
    naming = [r for r in reactions if r.kind in ("accept", "reject", "correct", "label")]
    gold = [r for r in naming if r.source == "gold"]
    holdout_texts = {text_id(r.text) for r in gold if SPLITS[r.group_id] == "holdout"}
    ids = [example.example_id for example in result.examples]
    assert len(set(ids)) == len(ids)
    assert ids == sorted(ids)
    for example in result.examples:
        assert example.example_id == text_id(example.text)
        strongest = [s for s in ("holdout", "validation", "train") if s in sides_of(gold, example)]
        weakest = [s for s in ("train", "validation") if s in sides_of(naming, example)]
        assert example.split == (strongest + weakest)[0]
        assert (example.split == "holdout") == (example.example_id in holdout_texts)
        sources = {by_id[feedback_id].source for feedback_id in example.feedback_ids}
        assert sources == ({"gold"} if example.split == "holdout" else {"app"})


def sides_of(reactions: Sequence[Reaction], example: Example) -> set[Split]:
    """The sides of all groups that an example's text is in."""
    return {SPLITS[r.group_id] for r in reactions if text_id(r.text) == example.example_id}


@pytest.mark.parametrize(
    ("given_reaction", "reason"),
    [
        ({"kind": "reject"}, "no_label"),
        ({"kind": "withdraw"}, "withdrawn"),
        ({"kind": "rate", "value": "5"}, "no_label"),
        ({"kind": "comment", "value": "good"}, "no_label"),
        ({"kind": "correct", "value": None}, "no_label"),
        ({"kind": "accept", "predicted_label": None}, "no_label"),
        ({"value": "ugly", "text": "x"}, "unknown_label"),
        ({"text": " x  "}, "too_short"),
        ({"text": "\u200b\u2060\ufeff\u3164\u00ad"}, "too_short"),
        ({"text": "x" * 13}, "too_long"),
        ({"group_id": "e1"}, "not_gold"),
        (
            {"source": "gold", "group_id": "e1", "kind": "accept", "predicted_label": "good"},
            "answer_in_sight",
        ),
        ({"source": "gold", "group_id": "e1", "kind": "correct"}, "answer_in_sight"),
        ({"source": "gold"}, "gold_outside_holdout"),
        ({"source": "gold", "group_id": "v1"}, "gold_outside_holdout"),
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
        reaction("of-the-same-time", minutes=2, value="bad", text="HELLO", group_id="t2"),
        reaction("early", minutes=1),
        reaction("came-later", minutes=2, value="good", arrived=1),
    )
    assert drops(result) == {"early": "superseded", "of-the-same-time": "superseded"}
    assert result.examples[0].feedback_ids == ("came-later",)


def test_words_of_one_moment_that_differ_are_a_disagreement() -> None:
    """Whose id is greater says nothing of what was meant."""
    both = [reaction(name, value=value) for name, value in (("1", "good"), ("2", "bad"))]
    result = curated(*both, reaction("3", minutes=-1))
    assert drops(result) == {"1": "disagreement", "2": "disagreement", "3": "superseded"}
    assert not result.examples
    same = curated(both[0], reaction("2"))
    assert [example.feedback_ids for example in same.examples] == [("2",)]


def test_who_takes_back_what_was_said_elsewhere_names_no_label() -> None:
    """Of two sides one has a later word: the withdrawal is a vote on neither."""
    result = curated(
        reaction("later", minutes=1, group_id="e1"),
        reaction("back", kind="withdraw", value=None, group_id="t1"),
    )
    assert drops(result) == {"later": "not_gold", "back": "withdrawn"}


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
        "gold-elsewhere": "gold_outside_holdout",
    }


@pytest.mark.parametrize("source", ["gold", "audit"])
def test_holdout_text_without_label_still_contaminates(source: str) -> None:
    seen = reaction("seen", kind="reject", group_id="e1", source=source)
    assert drops(curated(seen, reaction("copy", text="HELLO"))) == {
        "seen": "no_label",
        "copy": "contaminated",
    }


def test_majority_decides_and_dissent_is_counted() -> None:
    result = curated(
        reaction("1", text="hello", group_id="t2"),
        reaction("2", text="Hello", group_id="t1", rater_id="r2"),
        reaction("3", text="hello ", value="bad", rater_id="r3"),
    )
    (example,) = result.examples
    assert (example.text, example.label, example.group_id) == ("Hello", "good", "t1")
    # an unknown rater is right with 0.9 * 0.8 + 0.1 * 0.5; two against one of them leave one, and
    # who agrees is believed a little more
    assert example.confidence == pytest.approx(0.79, abs=0.03)
    assert example.feedback_ids == ("1", "2", "3")


@pytest.mark.parametrize("min_agreement", [0.0, 0.5])
def test_tie_is_disagreement(min_agreement: float) -> None:
    rules = RULES.model_copy(update={"min_agreement": min_agreement})
    result = curated(reaction("1"), reaction("2", value="bad", rater_id="r2"), rules=rules)
    assert drops(result) == {"1": "disagreement", "2": "disagreement"}


def test_agreement_must_exceed_the_limit() -> None:
    votes = [reaction(str(i), rater_id=str(i), value="bad" if i else "good") for i in range(4)]
    (example,) = curated(*votes).examples
    for limit in (example.confidence, example.confidence + 0.001):
        strict = RULES.model_copy(update={"min_agreement": limit})
        assert set(drops(curated(*votes, rules=strict)).values()) == {"disagreement"}


@pytest.mark.parametrize(("source", "side"), [("app", "train"), ("gold", "validation")])
def test_validation_wins_over_train_where_gold_says_so(source: str, side: Split) -> None:
    rules = RULES.model_copy(update={"train_on_gold": True})
    elsewhere = reaction("2", rater_id="r2", group_id="v1", source=source)
    (example,) = curated(reaction("1"), elsewhere, rules=rules).examples
    assert (example.split, SPLITS[example.group_id]) == (side, side)
    assert example.feedback_ids == ("1", "2")


def test_repeated_feedback_id_is_refused() -> None:
    with pytest.raises(DataError, match="occur once"):
        curated(reaction("1"), reaction("1"))


# ---- Revisions and withdrawals


def test_the_last_word_counts_even_when_it_names_no_label() -> None:
    labels = ("good", "bad", "ugly")
    accepted = reaction("1", kind="accept", value=None, predicted_label="bad")
    rejected = reaction("2", kind="reject", value=None, predicted_label="bad", minutes=1)
    result = curate((accepted, rejected), splits=SPLITS, labels=labels, rules=RULES)
    assert drops(result) == {"1": "superseded", "2": "only_rejected"}


def test_a_withdrawal_takes_back_what_came_before_and_not_what_comes_after() -> None:
    given = reaction("1"), reaction("2", kind="withdraw", value=None, minutes=1)
    assert drops(curated(*given)) == {"1": "withdrawn", "2": "withdrawn"}
    again = curated(*given, reaction("3", value="bad", minutes=2))
    assert drops(again) == {"1": "superseded", "2": "superseded"}
    assert again.examples[0].label == "bad"


@pytest.mark.parametrize("group", ["e1", "t1"])
@pytest.mark.parametrize("source", ["gold", "app"])
def test_who_withdraws_need_not_name_the_group(source: str, group: str) -> None:
    """Ingestion then names the group by the text, and its side is another."""
    for elsewhere in ("e2", "t2"):
        back = reaction("2", kind="withdraw", value=None, group_id=elsewhere, source=source)
        result = curated(reaction("1", group_id=group, source=source, minutes=-1), back)
        assert not result.examples
        assert drops(result) == {"1": "withdrawn", "2": "withdrawn"}


def test_a_withdrawal_within_the_same_second_is_the_last_word() -> None:
    """Apps send whole seconds, and others parts of them."""
    half = START + timedelta(seconds=0.5)
    back = reaction("0", kind="withdraw", value=None)
    assert drops(curated(reaction("1", given_at=half), back)) == {
        "0": "withdrawn",
        "1": "withdrawn",
    }


def test_nobody_else_can_withdraw_a_vote() -> None:
    result = curated(reaction("1"), reaction("2", kind="withdraw", rater_id="r2", minutes=1))
    assert drops(result) == {"2": "withdrawn"}


# ---- Rejections


def test_of_two_labels_a_rejection_names_the_other() -> None:
    result = curated(reaction("1", kind="reject", value=None, predicted_label="bad"))
    assert [example.label for example in result.examples] == ["good"]


def test_a_rejection_alone_becomes_a_complementary_label_where_that_is_wanted() -> None:
    labels = ("good", "bad", "ugly")
    rejected = reaction("1", kind="reject", value=None, predicted_label="bad")
    wanted = RULES.model_copy(update={"complementary": True})
    (example,) = curate((rejected,), splits=SPLITS, labels=labels, rules=wanted).examples
    assert (example.label, example.excluded) == (None, ("bad",))
    unwanted = curate((rejected,), splits=SPLITS, labels=labels, rules=RULES)
    assert drops(unwanted) == {"1": "only_rejected"}


def test_a_rejection_decides_between_two_who_disagree() -> None:
    labels = ("good", "bad", "ugly")
    votes = (
        reaction("1"),
        reaction("2", value="bad", rater_id="r2"),
        reaction("3", kind="reject", value=None, predicted_label="bad", rater_id="r3"),
    )
    (example,) = curate(votes, splits=SPLITS, labels=labels, rules=RULES).examples
    assert example.label == "good"
    assert example.feedback_ids == ("1", "2", "3")


# ---- Personal data, near-duplicates, gold


LONG = RULES.model_copy(update={"max_chars": 500, "near_duplicates": 0.7})
SAID = "the battery died after two days and nobody at the shop would take it back"


def test_no_personal_data_reaches_an_example() -> None:
    text = f"{SAID}, write to ann.lee@example.org"
    (example,) = curated(reaction("1", text=text), rules=LONG).examples
    assert example.text == f"{SAID}, write to [EMAIL]"
    named = LONG.model_copy(update={"names_in": ["rater_id"]})
    result = curated(reaction("1", text=f"{SAID}, says Ann", rater_id="ann"), rules=named)
    assert result.examples[0].text == f"{SAID}, says [NAME]"
    off = LONG.model_copy(update={"personal_data": False})
    assert curated(reaction("1", text=text), rules=off).examples[0].text == text


def test_what_is_almost_a_text_of_the_holdout_does_not_train() -> None:
    gold = reaction("holdout", text=SAID, source="gold", group_id="e1")
    near = reaction("near", text=SAID.replace("two", "three"), rater_id="r2")
    assert drops(curated(gold, near, rules=LONG)) == {"near": "contaminated"}
    exact = LONG.model_copy(update={"near_duplicates": 1.0})
    assert drops(curated(gold, near, rules=exact)) == {}


@pytest.mark.parametrize("source", ["app", "gold"])
@pytest.mark.parametrize("group", ["t1", "v1"])
def test_a_golden_text_never_trains_whoever_labels_it(source: str, group: str) -> None:
    rules = LONG.model_copy(update={"train_on_gold": True})
    said = reaction("1", text=f"  {SAID.upper()} ", source=source, group_id=group)
    other = reaction("2", text="a wholly different thing to say about it", rater_id="r2")

    result = curated(said, other, rules=rules, golden=[SAID])

    assert drops(result) == {"1": "contaminated"}
    assert [example.feedback_ids for example in result.examples] == [("2",)]
    assert drops(curated(said, other, rules=rules)) == {}


def test_what_is_almost_a_golden_text_does_not_train_nor_what_is_almost_that() -> None:
    near = SAID.replace("two", "three")
    further = near.replace("at the shop", "in that shop").replace("died", "had died")
    reactions = reaction("near", text=near), reaction("further", text=further)

    result = curated(*reactions, rules=LONG, golden=[SAID])

    assert drops(result) == {"near": "contaminated", "further": "contaminated"}
    assert drops(curated(reactions[1], rules=LONG, golden=[SAID])) == {}
    exact = LONG.model_copy(update={"near_duplicates": 1.0})
    assert drops(curated(*reactions, rules=exact, golden=[SAID])) == {}


def test_placeholders_do_not_hide_a_golden_text() -> None:
    golden = "Ann was told to write to ann.lee@example.org"
    rules = LONG.model_copy(update={"names_in": ["rater_id"], "near_duplicates": 1.0})
    said = reaction("1", text=golden, rater_id="Ann")
    hidden = reaction("2", text="Ann was told to write to [EMAIL]", rater_id="bob")

    result = curated(said, hidden, rules=rules, golden=[golden])

    assert drops(result) == {"1": "contaminated", "2": "contaminated"}


def test_the_use_cases_golden_texts_are_kept_out_of_its_snapshots(
    home: Home, use_case: UseCase
) -> None:
    case = use_case.model_copy(update={"golden": [Golden(text=SAID, label="negative")]})
    inbox = home.inbox(case.name)
    inbox.mkdir(parents=True)
    texts = [SAID, "a wholly different thing to say about it"]
    rows = [row(feedback_id=f"f{n}", text=text, value="neutral") for n, text in enumerate(texts)]
    (inbox / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    ingest_inbox(case, home, at=START)

    snapshot = curate_snapshot.fn(case, home, at=START)

    frozen = snapshots.read(home.snapshots, snapshot.snapshot_id)
    assert SAID not in {example.text for example in frozen}
    with open_store(home.warehouse) as store:
        steps = {step.rule: step for step in store.steps(case.name, snapshot.snapshot_id)}
    assert "1 contaminated" in steps["holdout"].detail


@given(many_reactions(), st.lists(st.sampled_from(("HELLO", "abc", "xyz", "x", "new")), max_size=3))
def test_golden_texts_only_take_training_rows_away(
    reactions: list[Reaction], golden: list[str]
) -> None:
    without, with_golden = curated(*reactions), curated(*reactions, golden=golden)
    hands_off = {text_id(text) for text in golden}

    def labels(result: Curated, split: Split) -> dict[str, str | None]:
        return {e.example_id: e.label for e in result.examples if e.split == split}

    for split in ("train", "validation"):
        expected = {
            name: label for name, label in labels(without, split).items() if name not in hands_off
        }
        assert labels(with_golden, split) == expected

    def holdout(result: Curated) -> list[Example]:
        return [example for example in result.examples if example.split == "holdout"]

    assert holdout(with_golden) == holdout(without)
    lost = {name for name, reason in drops(with_golden).items() if reason == "contaminated"}
    assert lost >= {name for name, reason in drops(without).items() if reason == "contaminated"}


def test_copies_share_the_weight_of_one() -> None:
    copies = [
        reaction(f"copy-{i}", text=f"{SAID} {i}", rater_id=f"r{i}", group_id="t1")
        for i in range(20)
    ]
    other = reaction("other", text="a wholly different thing to say about it", rater_id="o")
    uncapped = LONG.model_copy(update={"max_customer_share": 1.0})
    examples = curated(*copies, other, rules=uncapped).examples
    alone = next(e.weight for e in examples if e.feedback_ids == ("other",))
    shared = sum(e.weight for e in examples if e.feedback_ids != ("other",))
    assert shared == pytest.approx(alone, abs=1e-4)


def test_gold_outside_the_holdout_trains_where_that_is_allowed() -> None:
    gold = reaction("1", source="gold")
    assert drops(curated(gold)) == {"1": "gold_outside_holdout"}
    allowed = RULES.model_copy(update={"train_on_gold": True})
    (example,) = curated(gold, rules=allowed).examples
    assert (example.split, example.confidence) == ("train", 1.0)


def test_only_so_many_examples_and_no_class_is_forgotten() -> None:
    many = [reaction(f"m{i}", text=f"word {i:04}", rater_id=f"r{i}") for i in range(100)]
    few = [reaction(f"b{i}", text=f"thing {i:03}", value="bad", rater_id=f"q{i}") for i in range(5)]
    rules = RULES.model_copy(update={"max_examples": 20})
    result = curated(*many, *few, rules=rules)
    assert [e.label for e in result.examples].count("bad") == 5
    assert len(result.examples) == 20
    assert list(drops(result).values()) == ["over_limit"] * 85


def test_one_loud_customer_has_at_most_the_share_allowed() -> None:
    loud = [
        reaction(f"l{i}", text=f"word {i:04}", rater_id="loud", customer_id="loud")
        for i in range(60)
    ]
    others = [
        reaction(f"o{i}", text=f"thing {i:03}", rater_id=f"r{i}", customer_id=f"c{i}", value="bad")
        for i in range(40)
    ]
    rules = RULES.model_copy(update={"poison": False, "suspect_weight": 1.0})
    examples = curated(*loud, *others, rules=rules).examples
    share = sum(e.weight for e in examples if e.label == "good") / sum(e.weight for e in examples)
    assert share == pytest.approx(rules.max_customer_share, abs=1e-3)
    trusted = rules.model_copy(update={"trusted_sources": ["app"]})
    weights = {e.weight for e in curated(*loud, *others, rules=trusted).examples}
    assert max(weights) / min(weights) < 1.5
