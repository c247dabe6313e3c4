"""Caps hold, small voices keep their weight, and the choice of rows is stable and level."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.curation.balancing import cap_shares, choose

owned = st.lists(
    st.tuples(st.floats(0.01, 1), st.one_of(st.none(), st.integers(0, 30))), max_size=120
)


@given(owned, st.floats(0.05, 1))
def test_no_owner_holds_more_than_the_cap(
    rows: list[tuple[float, int | None]], most: float
) -> None:
    weights = [weight for weight, _ in rows]
    owners = [owner for _, owner in rows]
    capped = cap_shares(weights, owners, most=most)
    assert (capped <= np.array(weights) + 1e-12).all()
    assert (capped >= 0).all()
    named = {owner for owner in owners if owner is not None}
    for row, owner in enumerate(owners):
        if owner is None:
            assert capped[row] == weights[row]
    if len(named) < 2 / most:
        assert capped.tolist() == weights
        return
    for owner in named:
        share = capped[[o == owner for o in owners]].sum()
        assert share <= most * capped.sum() + 1e-9


@given(owned, st.floats(0.05, 0.5))
def test_only_the_loud_are_lowered(rows: list[tuple[float, int | None]], most: float) -> None:
    weights = np.array([weight for weight, _ in rows])
    owners = [owner for _, owner in rows]
    capped = cap_shares(weights, owners, most=most)
    sums = {o: weights[[p == o for p in owners]].sum() for o in owners if o is not None}
    lowered = {o for o, was, now in zip(owners, weights, capped, strict=True) if now < was - 1e-9}
    kept = set(sums) - lowered
    assert all(sums[loud] >= sums[quiet] - 1e-6 for loud in lowered for quiet in kept)


@given(st.lists(st.sampled_from("aaaab"), max_size=80), st.integers(1, 60))
def test_classes_are_as_level_as_their_sizes_allow(classes: list[str], most: int) -> None:
    ids = [f"row-{n}" for n in range(len(classes))]
    kept = choose(ids, classes, most=most, salt="s")
    assert kept.sum() == min(most, len(ids))
    have = Counter(classes)
    chosen = Counter(name for name, keep in zip(classes, kept, strict=True) if keep)
    for name in have:
        for other in have:
            if chosen[name] < have[name]:
                assert chosen[other] <= chosen[name] + 1


@given(st.sets(st.integers(0, 500), min_size=2, max_size=60), st.integers(1, 30))
def test_a_row_once_left_out_does_not_come_back_when_others_come(
    numbers: set[int], most: int
) -> None:
    ids = [f"row-{n}" for n in sorted(numbers)]
    fewer = ids[:-1]
    before = set(np.array(fewer)[choose(fewer, [""] * len(fewer), most=most, salt="s")])
    after = set(np.array(ids)[choose(ids, [""] * len(ids), most=most, salt="s")])
    assert after - {ids[-1]} <= before
    assert len(before - after) <= 1


def test_another_salt_is_another_draw() -> None:
    ids = [f"row-{n}" for n in range(100)]
    one, other = (choose(ids, [""] * 100, most=50, salt=salt) for salt in ("1", "2"))
    assert one.tolist() != other.tolist()


def test_a_lone_owner_is_not_capped() -> None:
    assert cap_shares([1.0, 1.0], ["a", "a"], most=0.1).tolist() == pytest.approx([1.0, 1.0])
