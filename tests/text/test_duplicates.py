"""Near-duplicates: what shares a cluster, what does not, and what never matters."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import near_duplicates
from flywheel.errors import ConfigError
from flywheel.text import near_duplicates as duplicates
from flywheel.text.near_duplicates import clusters
from flywheel.text.normalize import normalise

WORDS = ["card", "cash", "machine", "transfer", "abroad", "pending", "is", "my", "the", "a"]
sentences = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)
any_text = st.text(max_size=12) | sentences


def similarity(left: str, right: str) -> float:
    """Exact Jaccard similarity of the shingles, counted with sets of strings."""
    ours, theirs = near_duplicates.shingles(left), near_duplicates.shingles(right)
    return len(ours & theirs) / len(ours | theirs)


def together(texts: list[str], found: list[int]) -> set[frozenset[str]]:
    """The clusters as sets of normalised texts, whatever their numbers."""
    groups: dict[int, set[str]] = {}
    for text, number in zip(texts, found, strict=True):
        groups.setdefault(number, set()).add(normalise(text))
    return {frozenset(group) for group in groups.values()}


def components(texts: list[str], threshold: float) -> set[frozenset[str]]:
    """Connected components over every pair, by comparing every pair."""
    groups = [{text} for text in {normalise(text) for text in texts}]
    for left in {normalise(text) for text in texts}:
        near = [g for g in groups if any(similarity(left, right) >= threshold for right in g)]
        groups = [g for g in groups if g not in near] + [set().union(*near)]
    return {frozenset(group) for group in groups}


def test_edited_copies_share_a_cluster() -> None:
    texts = [
        "The delivery came two days late, but support was friendly.",
        "The delivery came two days late but support was friendly",
        "The delivery came twi days late, but support was friendly!",
        "The delivery really came two days late, but support was friendly.",
        "Nobody told me that the invoice had been paid twice already.",
    ]
    assert clusters(texts) == [0, 0, 0, 0, 1]


def test_what_nobody_sees_parts_no_copies() -> None:
    rng = random.Random(1)
    text = "the parcel came late and the box was open"
    unseen = "\u200b\u200c\u00ad\u2060\ufeff\ufe0f\U000e0041"
    copies = []
    for _ in range(50):
        letters = list(text)
        for _ in range(12):
            letters.insert(rng.randrange(len(letters)), rng.choice(unseen))
        copies.append("".join(letters))
    assert clusters(copies) == [0] * 50
    assert duplicates.alike(copies, [text]) == [True] * 50


def test_a_chain_is_one_cluster_though_its_ends_differ() -> None:
    chain = [
        "my new card has not arrived yet",
        "my new card has not arrived yet anywhere",
        "so far my new card has not arrived yet anywhere",
    ]
    assert similarity(chain[0], chain[2]) < 0.7 <= similarity(chain[0], chain[1])
    assert clusters(chain) == [0, 0, 0]
    assert clusters([chain[0], chain[2]]) == [0, 1]


def test_texts_too_short_for_a_shingle_have_a_cluster_of_their_own() -> None:
    assert clusters(["", "a", "b", "A ", " ", "👍", "👎", "ok"]) == [0, 1, 2, 1, 0, 3, 4, 5]
    assert clusters([]) == []
    assert clusters([""]) == [0]


@given(st.lists(any_text, max_size=30))
def test_numbers_follow_first_occurrence(texts: list[str]) -> None:
    found = clusters(texts)
    assert len(found) == len(texts)
    assert list(dict.fromkeys(found)) == list(range(len(set(found))))


@given(st.lists(any_text, max_size=30), st.sampled_from([0.5, 0.7, 0.9, 1.0]), st.randoms())
def test_order_and_repeats_change_only_the_numbers(
    texts: list[str], threshold: float, draw: random.Random
) -> None:
    again = texts + [text.upper() + " " for text in texts if normalise(text.upper() + " ")]
    again = [text for text in again if normalise(text) in {normalise(t) for t in texts}]
    draw.shuffle(again)
    first = clusters(texts, threshold=threshold)
    assert together(texts, first) == together(again, clusters(again, threshold=threshold))


@given(st.lists(any_text, max_size=30))
def test_texts_equal_after_normalising_always_share_a_cluster(texts: list[str]) -> None:
    both = texts + [f"  {normalise(text)}\n" for text in texts]
    found = clusters(both, threshold=1.0)
    assert found[: len(texts)] == found[len(texts) :]


@given(st.lists(any_text, max_size=20), st.sampled_from([0.4, 0.7, 0.9]))
def test_every_cluster_is_held_together_by_pairs_at_the_threshold(
    texts: list[str], threshold: float
) -> None:
    true = components(texts, threshold)
    for group in together(texts, clusters(texts, threshold=threshold)):
        assert any(group <= whole for whole in true)


@given(
    st.lists(any_text, max_size=12),
    st.lists(any_text, max_size=4),
    st.sampled_from([0.4, 0.7, 1.0]),
)
def test_a_text_is_alike_to_others_exactly_when_it_is_close_to_one_of_them(
    texts: list[str], others: list[str], threshold: float
) -> None:
    expected = [
        any(similarity(normalise(text), normalise(other)) >= threshold for other in others)
        for text in texts
    ]
    assert duplicates.alike(texts, others, threshold=threshold) == expected


def test_lone_surrogates_are_texts_too() -> None:
    assert clusters(["\ud800", "\ud800", "x\udfff"]) == [0, 0, 1]


def test_more_letters_than_fit_are_hashed_and_still_compared() -> None:
    letters = [chr(0x4E00 + at) for at in range(3_000)]
    texts = ["".join(letters[at : at + 40]) for at in range(0, 3_000, 40)]
    copies = [text[:-1] for text in texts]
    assert len({letter for text in texts for letter in text}) ** 3 > duplicates.COLUMNS
    found = clusters(texts + copies)
    assert found == [*range(len(texts)), *range(len(texts))]


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.01, float("nan")])
def test_a_threshold_that_means_nothing_is_refused(threshold: float) -> None:
    with pytest.raises(ConfigError, match="above 0 and at most 1"):
        clusters(["a"], threshold=threshold)


def test_recall_over_every_true_pair() -> None:
    texts, _ = near_duplicates.sentences(2_000, 1)
    pairs = near_duplicates.true_pairs(texts)
    assert len(pairs) > 300
    assert near_duplicates.recall(clusters(texts), pairs) > 0.99


@pytest.mark.slow
def test_a_pair_at_the_threshold_is_missed_at_most_as_often_as_promised() -> None:
    pairs = near_duplicates.true_pairs(texts := near_duplicates.sentences(4_000, 2)[0])
    close = [pair for pair in pairs if similarity(*(texts[row] for row in pair)) < 0.72]
    assert len(close) > 100
    # Each pair on its own: no third text may connect the two.
    alone = [len(set(clusters([texts[left], texts[right]]))) for left, right in close]
    assert alone.count(2) <= 0.03 * len(close) + 6


def test_the_exact_check_of_the_benchmark_is_exact() -> None:
    texts, _ = near_duplicates.sentences(150, 3)
    pairs = set(near_duplicates.true_pairs(texts))
    assert pairs
    for left in range(len(texts)):
        for right in range(left + 1, len(texts)):
            assert (similarity(texts[left], texts[right]) >= 0.7) == ((left, right) in pairs)


def test_ten_thousand_near_copies_cost_few_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0
    shared = duplicates._shared

    def counting(shingles, left, right):  # type: ignore[no-untyped-def]
        nonlocal compared
        compared += len(left)
        return shared(shingles, left, right)

    monkeypatch.setattr(duplicates, "_shared", counting)
    copies = [
        f"Dear customer, your parcel number {at} is waiting for you at the desk of our office."
        for at in range(10_000)
    ]
    assert len(set(clusters(copies))) == 1
    # every pair would be 5 * 10^7
    assert compared < 50 * len(copies)


def test_texts_from_one_template_but_far_apart_stay_apart() -> None:
    names = ["Ann Lee", "Bartholomew Featherstonehaugh", "the whole procurement office of Ghent"]
    assert clusters([f"Please call {name} back." for name in names]) == [0, 1, 2]


def test_the_benchmark_measures_what_it_names() -> None:
    figures = near_duplicates.measure(rows=600, rounds=1)
    assert figures["near_duplicate_pairs"] > 20
    assert 0.9 < figures["near_duplicate_recall"] <= 1
    assert 0.5 < figures["near_duplicate_recall_datasketch"] <= 1
    assert figures["near_duplicate_speedup"] > 0
