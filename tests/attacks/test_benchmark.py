"""The benchmark of attacks runs, and its attacks work where nothing stops them."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.attacks import data as people
from benchmarks.attacks import evidence, figures, placement
from benchmarks.attacks.__main__ import ATTACKS, TRIGGERS, measure
from benchmarks.attacks.data import Data
from benchmarks.attacks.learners import qlora
from flywheel.config import UseCase
from flywheel.dataset.product_reviews import Sentence
from flywheel.text import near_duplicates

RATINGS = {"good": 3, "fine": 0, "broke": -3}
FIGURES = {"success", "lost", "refused", "promoted"}


def sentence(number: int, rng: random.Random) -> Sentence:
    """Words of chance, and one that says what they are worth."""
    word = list(RATINGS)[number % 3]
    others = " ".join("".join(rng.choices("abcdefghij", k=6)) for _ in range(8))
    return Sentence(
        f"{number}_1", f"review-{number}", f"{others} {word}", RATINGS[word], (RATINGS[word],)
    )


@pytest.fixture
def data(use_case: UseCase) -> Data:
    rng = random.Random(0)
    return people.on_sides(use_case, [sentence(number, rng) for number in range(400)])


def test_a_chain_leads_from_a_text_to_another_by_texts_that_are_almost_alike(data: Data) -> None:
    start, end = (s.text for s in data.train[:2])
    chain = placement.between(start, end)
    assert near_duplicates.clusters([start, end]) == [0, 1]
    assert set(near_duplicates.clusters([start, *chain, end])) == {0}
    assert len(chain) < 12


def test_intervals_are_those_of_the_tables() -> None:
    assert figures.exact(0.0, 75) == pytest.approx([0.0, 0.048], abs=1e-3)
    assert figures.exact(1.0, 10) == pytest.approx([0.692, 1.0], abs=1e-3)
    assert figures.interval([1.0, 2.0, 3.0]) == pytest.approx([-0.484, 4.484], abs=1e-3)
    found = figures.over_seeds([{"promoted": 0.0}, {"promoted": 1.0}], counted=["promoted"])
    assert found["promoted"] == pytest.approx({"mean": 0.5, "low": 0.013, "high": 0.987}, abs=1e-3)


def test_one_liar_of_a_hundred_is_proven_right_only_where_nobody_is_left_out(data: Data) -> None:
    rng = random.Random(0)
    rows = [evidence.fresh_rows(rng, 1, number) for number in range(14)]
    case = data.case
    assert not evidence.proven(case, rows, 0.01)
    assert evidence.proven(evidence.with_gate(case, evidence.OFF), rows, 0.01)


@pytest.mark.slow
def test_every_attack_runs_on_the_smallest_size(
    data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "LIVES", 2)
    names = [f"{name}_5" for name in ATTACKS]
    found = measure(data, 1, 60, [*names, "trigger_20"])
    assert set(found["trigger_20"]["gains"]) == {"success", "success_without"}
    for name in names:
        told = {key: value for key, value in found[name].items() if key != "seeds"}
        assert {"success", "success_without"} <= set(told)
        assert all(-1 <= one["low"] <= one["mean"] <= one["high"] <= 1 for one in told.values())
    for name in ("sybil_5", "placement_5", "evidence_5", "forget_5"):
        assert found[name]["success_without"]["mean"] > 0.2, "the attack works without the defence"
    for name in ("placement_5", "forget_5"):
        assert found[name]["success"]["mean"] == 0


@pytest.mark.slow
@pytest.mark.model
def test_the_attacks_that_matter_most_run_with_the_recipe_of_the_use_case(
    data: Data, use_case: UseCase, tiny_base: Path
) -> None:
    told: list[str] = []
    short = use_case.training.model_copy(update={"min_steps": 0, "epochs": 1})
    case = use_case.model_copy(update={"training": short})
    small = replace(data, holdout=data.holdout[:20], learn=qlora(case, tiny_base, told.append))
    found = measure(small, 1, 40, ["sybil_5", TRIGGERS[-1]])
    assert set(found["sybil_5"]) >= FIGURES
    assert len(told) == 8
