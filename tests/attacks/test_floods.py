"""One customer who sends far more than all others: of what people and nights look at, a share."""

from __future__ import annotations

from collections import Counter

from flywheel.dataset import stratified_draws
from flywheel.ingestion.labeling_queue import Candidate, Item, rank
from tests.ingestion.test_labeling import candidate


def asked(
    pool: list[Candidate], *, size: int = 20, audits: float = 1.0, seed: str = "s"
) -> list[Item]:
    return rank(
        pool, size=size, audit_share=audits, disputed=(), suspects={}, learned=(), seed=seed,
        share=0.2,
    )  # fmt: skip


def texts_of(customer: str | None, count: int, *, start: int = 0) -> list[Candidate]:
    return [
        Candidate(f"{customer} {start + n}", f"g{n}", "a", {"a": 0.6, "b": 0.4}, customer=customer)
        for n in range(count)
    ]


def whose(items: list[Item]) -> Counter[str]:
    return Counter(item.text.split()[0] for item in items)


HONEST = [one for n in range(8) for one in texts_of(f"honest-{n}", 25)]


def test_a_flood_has_a_share_of_the_audits() -> None:
    """17 of 20 were the flooder's."""
    items = asked([*texts_of("mallory", 2_000), *HONEST])
    assert len(items) == 20
    found = whose(items)
    assert found["mallory"] == 4
    assert {found[f"honest-{n}"] for n in range(8)} == {2}, "and every other customer the same"
    # 200 texts of others, and of the flood a fifth of what is drawn from
    assert {item.probability for item in items} == {20 / 250}


def test_where_nobody_floods_every_text_is_drawn_as_likely_as_before() -> None:
    for pool in (HONEST, texts_of(None, 200), [*texts_of(None, 200), *texts_of("a", 40)]):
        items = asked(pool)
        assert len(items) == 20
        assert {item.probability for item in items} == {20 / len(pool)}


def test_a_draw_that_is_spread_over_customers_takes_each_text_as_likely() -> None:
    customers = {
        f"{who}{n}": who for who, count in (("a", 12), ("b", 5), ("c", 3)) for n in range(count)
    }
    drawn = Counter(
        one for seed in range(400) for one in stratified_draws.spread(customers, 5, seed=str(seed))
    )
    # 400 draws of 5 in 20: 100 each, standard deviation 8.7
    assert all(60 < drawn[one] < 140 for one in customers)
    for seed in range(20):
        found = Counter(one[0] for one in stratified_draws.spread(customers, 5, seed=str(seed)))
        assert found["a"] == 3


def test_a_flood_has_a_share_of_what_a_queue_chooses_as_long_as_there_is_anything_else() -> None:
    honest = [
        Candidate(candidate(n).text, f"g{n}", "a", {"a": 0.9, "b": 0.1}, customer=f"h{n % 4}")
        for n in range(40)
    ]
    flood = [
        Candidate(candidate(n).text, f"g{n}", "a", {"a": 0.5, "b": 0.5}, customer="mallory")
        for n in range(1_000, 1_060)
    ]
    theirs = {one.item_id for one in flood}
    items = asked([*honest, *flood], audits=0.0)
    assert len(items) == 20
    assert sum(item.item_id in theirs for item in items) == 4
    alone = asked(flood, audits=0.0)
    assert len(alone) == 20, "whoever is alone has the whole queue"
