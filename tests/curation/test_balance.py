"""Caps hold, small voices keep their weight, and the choice of rows is stable and level."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.curation.balancing import cap_shares, cap_together, choose

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


def test_caps_hold_together() -> None:
    """The second cap makes the loud of the first a larger share of what is left."""
    customers = ["loud"] * 20 + [f"c{n}" for n in range(40)]
    days = [f"d{n % 4}" for n in range(20)] + ["d9"] * 34 + [f"d{n}" for n in range(6)]
    caps = [(customers, 0.2), (days, 0.3)]
    one_by_one = cap_shares(cap_shares([1.0] * 60, customers, most=0.2), days, most=0.3)
    assert one_by_one[:20].sum() > 0.25 * one_by_one.sum()
    capped = cap_together([1.0] * 60, caps)
    assert capped.held == 2
    for owners, most in caps:
        for owner in {*owners}:
            share = capped.weights[[one == owner for one in owners]].sum()
            assert share <= (most + 1e-3) * capped.weights.sum()


def test_where_caps_contradict_each_other_the_first_holds() -> None:
    customers = ["loud"] * 20 + [f"c{n}" for n in range(40)]
    sources = [f"s{n % 4}" for n in range(20)] + ["app"] * 40
    capped = cap_together([1.0] * 60, [(customers, 0.2), (sources, 0.5)])
    assert capped.held == 1
    assert capped.weights[:20].sum() == pytest.approx(0.2 * capped.weights.sum())


@given(owned, owned, st.floats(0.05, 0.9), st.floats(0.05, 0.9))
def test_any_two_caps_leave_every_row_some_weight(
    rows: list[tuple[float, int | None]],
    others: list[tuple[float, int | None]],
    first: float,
    second: float,
) -> None:
    count = min(len(rows), len(others))
    weights = [weight for weight, _ in rows[:count]]
    owners = [[owner for _, owner in some[:count]] for some in (rows, others)]
    capped = cap_together(weights, list(zip(owners, (first, second), strict=True)))
    assert (capped.weights > 0).all()
    assert (capped.weights <= np.array(weights) + 1e-9).all()


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
