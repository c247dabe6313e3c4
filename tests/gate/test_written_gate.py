"""The gate on written answers: rows won and lost by ROUGE-L, a floor, and no promotion in doubt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flywheel.config import GateConfig
from flywheel.gate import comparison
from flywheel.gate.decision import decide
from flywheel.records import Contender, Overlap, Question, Report, Row, Verdict
from flywheel.stats import paired_tests
from tests.gate.test_gates import a_report

RULES = GateConfig(
    min_rouge_l=0.2, min_holdout_examples=50, slices=[], leave_one_out=False, tie_within=0.05
)


def written(digest: str, rows: Sequence[float]) -> Report:
    """A report whose rows have these ROUGE-L."""
    names = tuple(f"e{i:04}" for i in range(len(rows)))
    return Report(
        digest=digest,
        example_ids=names,
        correct=(False,) * len(rows),
        accuracy=0.0,
        macro_f1=None,
        log_loss=None,
        calibration_error=None,
        latency_ms=2.0,
        per_class={},
        answered=("a text",) * len(rows),
        confidence=(),
        overlap=Overlap(0.4, 0.2, fmean(rows) if rows else 0.0, tuple(rows)),
    )


def judge(ours: Report, theirs: Report | None, rules: GateConfig = RULES) -> Verdict:
    return decide(
        challenger=Contender(ours),
        champion=Contender(theirs) if theirs else None,
        first=theirs is None,
        rows={name: Row(name, "", name, "gold") for name in ours.example_ids},
        question=Question(1, 0.05) if theirs else None,
        trial=None,
        limits=rules,
    )


def test_a_model_that_wins_rows_is_promoted_and_one_that_loses_them_is_not() -> None:
    better, worse = written("new", [0.5] * 100), written("old", [0.3] * 100)
    assert judge(better, worse).decision == "promote"
    assert judge(worse, better).decision == "reject"


def test_small_differences_are_ties_however_many_there_are() -> None:
    verdict = judge(written("new", [0.34] * 500), written("old", [0.3] * 500))
    assert verdict.decision == "reject"
    assert "won 0 rows" in verdict.reasons[-1].detail
    strict = RULES.model_copy(update={"tie_within": 0.03})
    assert judge(written("new", [0.34] * 500), written("old", [0.3] * 500), strict).decision == (
        "promote"
    )


def test_a_few_great_rows_do_not_outweigh_many_lost_ones() -> None:
    """Rows are counted, not added up: the mean is better, and most rows are worse."""
    ours, theirs = [1.0] * 20 + [0.2] * 80, [0.1] * 20 + [0.3] * 80
    assert fmean(ours) > fmean(theirs)
    assert judge(written("new", ours), written("old", theirs)).decision == "reject"


def test_the_floor_alone_decides_on_a_first_model() -> None:
    assert judge(written("new", [0.2] * 60), None).decision == "promote"
    assert judge(written("new", [0.19] * 60), None).decision == "reject"


def test_labels_and_texts_are_never_compared() -> None:
    labels = a_report("old", [True] * 100)
    for ours, theirs in (
        (written("new", [0.9] * 100), labels),
        (labels, written("n", [0.1] * 100)),
    ):
        verdict = judge(ours, replace(theirs, digest="other"))
        assert verdict.decision == "undecided"
    assert judge(labels, None).decision == "undecided", "no ROUGE-L, and yet a floor was passed"


@pytest.mark.parametrize(
    "overlap",
    [
        Overlap(0.4, 0.2, 0.5, (0.5,) * 99),
        Overlap(0.4, 0.2, 0.9, (0.5,) * 100),
        Overlap(0.4, float("nan"), 0.5, (0.5,) * 100),
        Overlap(0.4, 0.2, float("nan"), (float("nan"),) * 100),
        Overlap(0.4, 0.2, 1.5, (1.5,) * 100),
    ],
)
def test_numbers_that_cannot_be_are_undecided(overlap: Overlap) -> None:
    ours = replace(written("new", [0.5] * 100), overlap=overlap)
    verdict = judge(ours, written("old", [0.1] * 100))
    assert verdict.decision == "undecided"
    assert verdict.reasons[0].rule == "usable_numbers"


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.99))
def test_a_win_is_the_others_loss(ours: float, theirs: float, within: float) -> None:
    found = comparison.won(ours, theirs, tie_within=within)
    assert found == -comparison.won(theirs, ours, tie_within=within)
    assert found in (-1, 0, 1)


@given(st.booleans(), st.booleans(), st.floats(0, 0.99))
def test_a_right_label_wins_whatever_ties_are(ours: bool, theirs: bool, within: float) -> None:
    assert comparison.won(float(ours), float(theirs), tie_within=within) == ours - theirs


def test_the_interval_of_a_mean_holds_it_and_stays_a_share() -> None:
    low, high = paired_tests.mean_interval([0.1, 0.2, 0.3, 0.4])
    # mean 0.25, standard error 0.0645, t of three degrees of freedom 3.182
    assert (low, high) == (pytest.approx(0.0446, abs=1e-3), pytest.approx(0.4554, abs=1e-3))
    assert paired_tests.mean_interval([0.0, 1.0]) == (0.0, 1.0)
    assert paired_tests.mean_interval([0.5]) == (0.0, 1.0)
