"""Worlds that feed the gate badly have the names that the documents use, and can be played."""

from __future__ import annotations

from benchmarks import evidence
from flywheel.stats.alpha_budget import question_alpha

NAMES = {
    "design_effect",
    "best_of_100",
    "coverage_80",
    "censored_audits",
    "near_copies",
    "shared_error",
    "label_shift",
    "season",
    "accepted_exam",
}


def test_every_world_has_its_name() -> None:
    assert evidence.SCENARIOS.keys() == NAMES


def test_who_is_the_best_of_many_pays_for_being_chosen() -> None:
    """In some of these lives the best of a hundred equals wins a question at the whole level."""
    assert question_alpha(1, 1.0, budget=0.05, chosen_of=100) == question_alpha(
        1, 1.0, budget=0.0005
    )
    ours, without = evidence.SCENARIOS["best_of_100"]
    lives = range(60)
    assert without is not None
    assert any(without(trials=1, seed=life) for life in lives)
    assert not any(ours(trials=1, seed=life) for life in lives)


def test_accepted_answers_decide_nothing_on_the_holdout() -> None:
    found = evidence.measure(lives=3, only=["accepted_exam"])["accepted_exam"]
    assert found["wrong_promotion_rate"] == 0
