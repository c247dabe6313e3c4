"""A trie over the labels: where they part, and what is read to tell them apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.modeling.verbalizer.trie import Trie

SEQUENCES = st.lists(
    st.lists(st.integers(0, 3), min_size=1, max_size=5).map(tuple),
    min_size=2,
    max_size=12,
    unique=True,
)
CARDS = [(1, 2, 3), (1, 2, 4), (1, 5, 6, 7), (1, 5, 6, 8), (9,)]


def test_labels_that_differ_in_their_first_token_need_nothing_read() -> None:
    trie = Trie.of([(5, 1), (3, 1), (4,)])
    assert trie.is_flat
    assert trie.branches[0].tokens == (5, 3, 4), "in the labels' order"
    assert trie.nodes == ()


def test_only_what_leads_to_a_parting_is_read_and_that_once() -> None:
    trie = Trie.of(CARDS)
    assert not trie.is_flat
    assert [branch.path for branch in trie.branches] == [(), (1,), (1, 2), (1, 5, 6)]
    # 7 and 8 tell labels apart and are never read; 6 is read, though nothing parts before it
    assert [node.token for node in trie.nodes] == [1, 2, 5, 6]
    assert [node.parent for node in trie.nodes] == [None, 0, 0, 2]
    assert trie.places == (None, 0, 1, 3)


def test_a_label_within_another_ends_where_the_other_goes_on() -> None:
    trie = Trie.of([(1,), (1, 2), (1, 2, 3)])
    assert [(branch.path, branch.tokens, branch.ends) for branch in trie.branches] == [
        ((1,), (2,), True),
        ((1, 2), (3,), True),
    ]
    assert trie.branches[0].behind == (frozenset({1, 2}), frozenset({0}))


def test_labels_of_the_same_tokens_are_refused() -> None:
    with pytest.raises(ValueError, match="same tokens"):
        Trie.of([(1, 2), (3,), (1, 2)])


def test_only_what_decides_for_the_targets_is_on_the_way() -> None:
    trie = Trie.of(CARDS)
    assert trie.on_the_way([4]) == (0,)
    assert trie.on_the_way([0]) == (0, 1, 2)
    assert trie.on_the_way([2, 3]) == (0, 1), "behind it both are wanted"
    assert trie.on_the_way(range(5)) == (0,)
    # all but a rejected one: its own path says what is lost
    assert trie.on_the_way([1, 2, 3, 4]) == trie.on_the_way([0])


@given(SEQUENCES)
def test_the_choices_of_a_label_spell_it_and_no_other(sequences: list[tuple[int, ...]]) -> None:
    trie = Trie.of(sequences)
    assert len({trie.choices[label] for label in range(len(sequences))}) == len(sequences)
    for label, own in enumerate(sequences):
        for number, choice in trie.choices[label]:
            branch = trie.branches[number]
            assert own[: len(branch.path)] == branch.path
            ending = choice == len(branch.tokens)
            spelled = branch.path if ending else (*branch.path, branch.tokens[choice])
            assert own == spelled if ending else own[: len(spelled)] == spelled


@given(SEQUENCES)
def test_shares_along_the_paths_add_up_to_one(sequences: list[tuple[int, ...]]) -> None:
    trie = Trie.of(sequences)
    total = 0.0
    for choices in trie.choices:
        share = 1.0
        for number, _ in choices:
            share /= len(trie.branches[number].behind)
        total += share
    assert total == pytest.approx(1)


@given(SEQUENCES)
def test_lines_hold_every_branch_once_each_on_one_path(sequences: list[tuple[int, ...]]) -> None:
    trie = Trie.of(sequences)
    every = range(len(trie.branches))
    lines = trie.lines(every)
    assert sorted(number for line in lines for number in line) == list(every)
    for line in lines:
        paths = [trie.branches[number].path for number in line]
        assert all(paths[-1][: len(path)] == path for path in paths)


@given(SEQUENCES)
def test_nodes_spell_the_path_of_every_branch(sequences: list[tuple[int, ...]]) -> None:
    trie = Trie.of(sequences)
    assert len(trie.nodes) == len({b.path[:d] for b in trie.branches for d in range(1, 6)} - {()})
    for branch, place in zip(trie.branches, trie.places, strict=True):
        spelled: list[int] = []
        while place is not None:
            spelled.insert(0, trie.nodes[place].token)
            place = trie.nodes[place].parent
        assert tuple(spelled) == branch.path
