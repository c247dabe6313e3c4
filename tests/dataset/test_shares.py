"""No customer drowns the others, nor do a fifth of them together; few customers notice nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.dataset.customer_share import most_rows
from flywheel.dataset.stratified_draws import Shares


def taken(counts: list[int], own: int, share: float) -> list[int]:
    most = most_rows(counts, own, share)
    return [min(count, most) for count in counts]


def test_a_fifth_of_all_customers_have_a_fifth_of_all_rows_together() -> None:
    loud, quiet = [5_000] * 20, [16] * 80
    counted = taken([*loud, *quiet], 0, 0.2)
    assert sum(counted[:20]) <= 0.2 * sum(counted)
    assert counted[20:] == quiet


def test_two_who_agree_are_not_each_others_measure() -> None:
    assert most_rows([9_000, 9_000, *[10] * 18], 0, 0.2) == 10
    assert most_rows([9_000, *[10] * 4], 0, 0.2) == 10


def test_a_company_with_few_customers_uses_what_they_send() -> None:
    assert most_rows([100, 50, 2], 0, 0.2) == 50, "as the second loudest"
    assert most_rows([540], 0, 0.2) == 540, "nobody else is drowned"
    assert most_rows([], 30, 0.2) == 30
    assert most_rows([540], 20, 0.2) == 20, "the company's own labels are not drowned"
    assert most_rows([7] * 30, 0, 0.2) == 7
    assert most_rows([5, 9], 0, 1.0) == 9, "no cap"


@given(
    st.lists(st.integers(1, 1_000), min_size=2, max_size=40),
    st.integers(0, 100),
    st.sampled_from([0.05, 0.2, 0.5, 1.0]),
)
def test_who_sends_least_loses_nothing(counts: list[int], own: int, share: float) -> None:
    assert min(taken(counts, own, share)) == min(counts)


@pytest.mark.parametrize(("customers", "most"), [(3, 8), (9, 8), (10, 4), (100, 1)])
def test_of_a_queue_a_fifth_of_many_customers_have_a_fifth_together(
    customers: int, most: int
) -> None:
    shares = Shares(40, 0.2, customers)
    for _ in range(most):
        assert shares.allows("loud")
        shares.add("loud")
    assert not shares.allows("loud")
    assert shares.allows("another")
    assert shares.allows(None)
