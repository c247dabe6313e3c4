"""Splits are decided once, alone, and for ever."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.dataset.splits import assign, merge
from flywheel.errors import DataError
from flywheel.records import Split
from flywheel.text.normalize import normalise, text_id

SHARES = {"salt": "s", "holdout": 0.2, "validation": 0.1}
FROZEN: dict[str, Split] = {
    "a": "train",
    "b": "validation",
    "c": "train",
    "d": "train",
    "e": "train",
    "f": "validation",
}
sides = st.sampled_from(("train", "validation", "holdout"))


@pytest.mark.parametrize("added", [0.01, 0.1, 1.0])
def test_adding_groups_moves_none(added: float) -> None:
    before = [f"g{i}" for i in range(1_000)]
    after = [f"new{i}" for i in range(int(1_000 * added))] + before[::-1]
    old = assign(before, known={}, **SHARES)
    for known in ({}, old):
        new = assign(after, known=known, **SHARES)
        assert {group: new[group] for group in before} == old


def test_shares_are_about_right() -> None:
    drawn = list(assign((f"g{i}" for i in range(10_000)), known={}, **SHARES).values())
    assert drawn.count("holdout") / 10_000 == pytest.approx(0.2, abs=0.02)
    assert drawn.count("validation") / 10_000 == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize(
    ("holdout", "validation", "only"), [(1, 0, "holdout"), (0, 1, "validation"), (0, 0, "train")]
)
def test_extreme_shares(holdout: float, validation: float, only: Split) -> None:
    drawn = assign(map(str, range(500)), known={}, salt="s", holdout=holdout, validation=validation)
    assert set(drawn.values()) == {only}


def test_draw_is_the_same_on_every_machine() -> None:
    drawn = assign(["a", "b", "c", "d", "e", "f"], known={}, **SHARES)
    assert drawn == FROZEN


@given(st.dictionaries(st.text(), sides))
def test_known_splits_win(known: dict[str, Split]) -> None:
    assert assign(known, known=known, salt="other", holdout=0.5, validation=0.2) == known


def test_salts_draw_independently() -> None:
    groups = [f"g{i}" for i in range(200)]
    one = assign(groups, known={}, salt="a", holdout=0.5, validation=0)
    assert one != assign(groups, known={}, salt="b", holdout=0.5, validation=0)


SIDES: dict[str, Split] = {"t": "train", "v": "validation", "e": "holdout"}


def test_of_trusted_people_the_strongest_side_wins_in_a_cluster() -> None:
    links = [("1", "t"), ("2", "t"), ("2", "v"), ("3", "v"), ("3", "e"), ("3", "t")]
    assert merge(links, [], SIDES) == {"1": "train", "2": "validation", "3": "holdout"}
    assert merge(links[::-1], [], SIDES) == merge(links, [], SIDES)


@pytest.mark.parametrize(
    ("groups", "side"),
    [("t", "train"), ("v", "validation"), ("e", "train"), ("tv", "train"), ("ve", "validation")],
)
@pytest.mark.parametrize("trusted", ["", "t", "v", "e"])
def test_others_place_only_what_no_trusted_person_did(
    trusted: str, groups: str, side: Split
) -> None:
    ours, others = ([("1", group) for group in named] for named in (trusted, groups))
    assert merge(ours, others, SIDES) == {"1": SIDES[trusted] if trusted else side}


@pytest.mark.parametrize("links", [([("1", "g")], []), ([], [("1", "g")])])
def test_group_without_split_is_refused(links: tuple[list[tuple[str, str]], ...]) -> None:
    trusted, others = links
    with pytest.raises(DataError, match="no split"):
        merge(trusted, others, {})


@given(st.text())
def test_normalise_is_idempotent(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


def test_text_id_ignores_case_width_and_spacing() -> None:
    assert text_id(" Caf\u00e9\tSTRASSE\n") == text_id("cafe\u0301 stra\u00dfe")
    assert text_id("\uff21b") == text_id("aB")
    assert text_id("a b") != text_id("ab")
    assert len(text_id("a")) == 32
