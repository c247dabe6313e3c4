"""LabelPosterior follows the votes, tells careless raters from honest ones, and invents nothing."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.curation.rater_model import Vote, aggregate_labels

LABELS = ("a", "b", "c")


@st.composite
def ballots(draw: st.DrawFn) -> list[Vote]:
    pairs = draw(
        st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4)), unique=True, max_size=25)
    )
    return [
        Vote(f"i{item}", f"r{rater}", draw(st.sampled_from(LABELS)), draw(st.booleans()))
        for item, rater in pairs
    ]


def crowd(
    seed: int, *, careless: int = 30, raters: int = 100, items: int = 400, votes: int = 3
) -> tuple[dict[str, str], list[Vote]]:
    """Honest raters are right with 0.85, careless ones answer at random."""
    rng = random.Random(seed)
    truth = {f"i{n}": rng.choice(LABELS) for n in range(items)}
    cast = []
    for item, label in truth.items():
        for rater in rng.sample(range(raters), votes):
            honest = rater >= careless and rng.random() < 0.85
            cast.append(Vote(item, f"r{rater}", label if honest else rng.choice(LABELS)))
    return truth, cast


@given(ballots(), st.randoms(use_true_random=False))
def test_posteriors_are_distributions_whatever_the_order(
    votes: list[Vote], rng: random.Random
) -> None:
    found = aggregate_labels(votes, labels=LABELS)
    assert set(found.posterior) == {vote.item for vote in votes}
    for row in found.posterior.values():
        assert row.sum() == pytest.approx(1)
        assert (row >= 0).all()
    assert found.without.shape == (len(votes), len(LABELS))
    assert all(0 <= share <= 1 for share in found.reliability.values())
    again = aggregate_labels(rng.sample(votes, len(votes)), labels=LABELS)
    assert {item: row.tolist() for item, row in again.posterior.items()} == {
        item: row.tolist() for item, row in found.posterior.items()
    }


@given(st.lists(st.sampled_from(LABELS), min_size=1, max_size=60))
def test_a_lone_vote_keeps_its_label_however_rare(labels: list[str]) -> None:
    votes = [Vote(f"i{n}", f"r{n}", label) for n, label in enumerate(labels)]
    found = aggregate_labels(votes, labels=LABELS)
    for vote in votes:
        assert LABELS[int(found.posterior[vote.item].argmax())] == vote.label
        assert found.posterior[vote.item].max() == pytest.approx(0.9 * 0.8 + 0.1 / 3)


@pytest.mark.parametrize("seed", range(3))
def test_careless_raters_are_told_apart_and_outvoted(seed: int) -> None:
    truth, votes = crowd(seed)
    found = aggregate_labels(votes, labels=LABELS)
    careless = [found.reliability[f"r{n}"] for n in range(30)]
    honest = [found.reliability[f"r{n}"] for n in range(30, 100)]
    assert np.mean(careless) < np.mean(honest) - 0.15
    assert np.mean([c < np.quantile(honest, 0.1) for c in careless]) > 0.7
    ours = np.mean([LABELS[int(found.posterior[i].argmax())] == t for i, t in truth.items()])
    counted = np.mean([_majority(votes, item) == label for item, label in truth.items()])
    assert ours > counted + 0.02


def test_known_truths_show_who_is_reliable() -> None:
    agreeing = ("good", *(f"r{n}" for n in range(8)))
    votes = [Vote(f"i{n}", rater, "a") for n in range(20) for rater in agreeing]
    votes += [Vote(f"i{n}", "bad", "b") for n in range(20)]
    found = aggregate_labels(votes, labels=LABELS, known={f"i{n}": "a" for n in range(20)})
    assert found.reliability["good"] > 0.7 > 0.4 > found.reliability["bad"]
    assert found.posterior["i0"].tolist() == [1, 0, 0]


def test_only_proven_raters_teach_what_all_share() -> None:
    truth, votes = crowd(0, careless=0, items=60)
    names = sorted({vote.rater for vote in votes})
    against = [Vote(f"x{n}", f"no-{n}-{label}", label) for n in range(300) for label in "ab"]
    for known in ({}, {item: truth[item] for item in sorted(truth)[:30]}):
        alone = aggregate_labels(votes, labels=LABELS, known=known)
        flooded = aggregate_labels([*votes, *against], labels=LABELS, known=known)
        assert flooded.proven <= set(names)
        right = [np.mean([f.reliability[name] for name in names]) for f in (alone, flooded)]
        assert right[1] == pytest.approx(right[0], abs=0.03)
    taught = aggregate_labels(votes, labels=LABELS, known=truth, trusted={"r0"})
    assert taught.proven >= {"r0"}


def test_a_proven_rater_answers_to_no_unknown_one() -> None:
    known = {f"i{n}": LABELS[n % 3] for n in range(9)}
    votes = [Vote(item, "proven", label) for item, label in known.items()]
    votes += [Vote("new", "proven", "a"), *(Vote("new", f"r{n}", "b") for n in range(3))]
    found = aggregate_labels(votes, labels=LABELS, known=known)
    assert found.proven == {"proven"}
    assert found.without[9].min() > 0.15, "nobody speaks clearly against it"
    assert found.without[10].argmax() == 1, "the unknown answer to each other"


def test_one_unproven_voice_says_nothing_of_another_and_a_second_or_a_proven_one_does() -> None:
    ours = [Vote(f"i{n}", "r", LABELS[n % 3]) for n in range(60)]
    one, two = (
        [Vote(f"i{n}", name, LABELS[(n + 1) % 3]) for n in range(20)] for name in ("m", "t")
    )
    rejects = [Vote(f"i{n}", "m", LABELS[n % 3], against=True) for n in range(20)]
    alone = aggregate_labels(ours, labels=LABELS).reliability["r"]
    for theirs in (one, rejects):
        assert aggregate_labels([*ours, *theirs], labels=LABELS).reliability["r"] == pytest.approx(
            alone
        )
    assert aggregate_labels([*ours, *one, *two], labels=LABELS).reliability["r"] < alone - 0.2
    by_trusted = aggregate_labels([*ours, *one], labels=LABELS, trusted={"m"})
    assert by_trusted.reliability["r"] < alone - 0.2
    truth = {vote.item: vote.label for vote in one}
    assert (
        aggregate_labels([*ours, *one], labels=LABELS, known=truth).reliability["r"] < alone - 0.2
    )
    elsewhere = [Vote(f"i{n}", "t", LABELS[(n + 1) % 3]) for n in range(20, 39)]
    told = aggregate_labels([*ours, *one, *elsewhere], labels=LABELS).reliability
    assert told["r"] < alone - 0.1, "two voices on other texts: one of them is heard"


def test_a_rejection_speaks_against_a_label() -> None:
    votes = [Vote("i", "r1", "a", against=True)]
    row = aggregate_labels(votes, labels=LABELS).posterior["i"]
    assert row[0] < 0.3 < row[1]
    assert row[1] == pytest.approx(row[2])
    assert votes[0].item not in aggregate_labels([], labels=LABELS).posterior


def test_without_leaves_the_vote_itself_out() -> None:
    others = [Vote("i", f"r{n}", "a") for n in range(4)]
    for label in LABELS:
        found = aggregate_labels([*others, Vote("i", "self", label)], labels=LABELS)
        assert found.without[-1].argmax() == 0


@pytest.mark.filterwarnings("ignore")
def test_as_good_as_the_field_s_own_on_a_plain_crowd() -> None:
    import pandas
    from crowdkit import aggregation

    truth, votes = crowd(1, careless=0, votes=5)
    table = pandas.DataFrame([{"task": v.item, "worker": v.rater, "label": v.label} for v in votes])
    theirs = aggregation.DawidSkene(n_iter=100).fit_predict(table)
    ours = aggregate_labels(votes, labels=LABELS).posterior
    right = [LABELS[int(ours[item].argmax())] == label for item, label in truth.items()]
    reference = [theirs[item] == label for item, label in truth.items()]
    assert np.mean(right) >= np.mean(reference) - 0.01


def _majority(votes: list[Vote], item: str) -> str:
    named = [vote.label for vote in votes if vote.item == item]
    return max(LABELS, key=named.count)


@pytest.mark.parametrize("voices", [1, 2])
def test_a_tie_of_unproven_raters_is_not_settled_by_the_commoner_label(voices: int) -> None:
    """Where more than half must agree, half is too few."""
    votes = [Vote(f"common {n}", f"r{n % 9}-{v}", "a") for n in range(60) for v in range(3)]
    votes += [Vote("torn", f"for {label} {v}", label) for label in "ab" for v in range(voices)]
    found = aggregate_labels(votes, labels=LABELS).posterior["torn"]
    assert found[0] == pytest.approx(found[1])
