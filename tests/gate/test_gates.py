"""Claims about the gate: what may, and above all what may not, replace a champion."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.config import GateConfig
from flywheel.gate.comparison import Pair, further_rows, paired
from flywheel.gate.decision import decide
from flywheel.records import Contender, FreshRow, Question, Reason, Report, Row, Trial, Verdict

RULES = GateConfig(
    min_accuracy=0.5,
    min_macro_f1=0.4,
    max_calibration_error=0.2,
    min_holdout_examples=100,
    slices=[],
)


def a_report(digest: str, correct: Sequence[bool], **changes: Any) -> Report:
    marks = tuple(bool(mark) for mark in correct)
    made = Report(
        digest=digest,
        example_ids=tuple(f"e{i:04}" for i in range(len(marks))),
        correct=marks,
        accuracy=sum(marks) / len(marks) if marks else 0.0,
        macro_f1=0.8,
        log_loss=0.5,
        calibration_error=0.05,
        latency_ms=2.0,
        per_class={"bill": {"precision": 0.8, "recall": 0.8, "f1": 0.8, "support": 9.0}},
        answered=("bill",) * len(marks),
        confidence=(0.9,) * len(marks),
    )
    return replace(made, **changes)


def contest(wins: int, losses: int, both: int = 120, neither: int = 0) -> tuple[Report, Report]:
    """Make the challenger's and the champion's report with these pairs of marks."""
    ours = [True] * wins + [False] * losses + [True] * both + [False] * neither
    theirs = [False] * wins + [True] * losses + [True] * both + [False] * neither
    return a_report("new", ours), a_report("old", theirs)


def judge(
    challenger: Report | None,
    champion: Report | None,
    *,
    first: bool = False,
    rules: GateConfig = RULES,
    alpha: float = 0.05,
    trial: Trial | None = None,
) -> Verdict:
    """The verdict of a night that asks the holdout its first question at level ``alpha``."""
    named = {name for report in (challenger, champion) if report for name in report.example_ids}
    return decide(
        challenger=Contender(challenger),
        champion=None if champion is None and first else Contender(champion),
        first=first,
        rows={name: Row(name, "bill", name, "gold") for name in named},
        question=Question(1, alpha),
        trial=trial,
        limits=rules,
    )


def failing(verdict: Verdict) -> list[str]:
    return [reason.rule for reason in verdict.reasons if reason.on and reason.passed is not True]


def reason(verdict: Verdict, rule: str) -> Reason:
    return next(reason for reason in verdict.reasons if reason.rule == rule)


def test_a_clearly_better_challenger_is_promoted_and_the_numbers_are_told() -> None:
    verdict = judge(*contest(41, 19, both=600, neither=82))
    assert verdict.decision == "promote"
    assert [r.rule for r in verdict.reasons if r.on] == [
        "holdout_size",
        "min_accuracy",
        "min_macro_f1",
        "max_calibration_error",
        "leave_one_out",
        "better_than_champion",
    ]
    assert reason(verdict, "better_than_champion").detail == (
        "holdout: won 41 rows, lost 19 of 742, gain +3.0 points (95 % interval +0.9 to +5.0), "
        "p = 0.0031 (question 1 needs ≤ 0.05)"
    )


# --- Fail closed ------------------------------------------------------------------------------


def test_missing_champion_never_promotes() -> None:
    challenger, _ = contest(40, 0)
    verdict = judge(challenger, None)
    assert verdict.decision == "undecided"
    assert verdict.reasons[0].detail == "the champion's answers are missing"


def test_missing_challenger_never_promotes() -> None:
    _, champion = contest(40, 0)
    for first, other in itertools.product((True, False), (champion, None)):
        assert judge(None, other, first=first).decision == "undecided"


def test_no_arrangement_without_both_reports_promotes() -> None:
    challenger, champion = contest(40, 0)
    for ours, theirs, first in itertools.product(
        (challenger, None), (champion, None), (True, False)
    ):
        promoted = judge(ours, theirs, first=first).decision == "promote"
        both = ours is not None and theirs is not None and not first
        stated_first = ours is not None and theirs is None and first
        assert promoted == (both or stated_first)


def test_a_champion_that_the_registry_denies_is_a_contradiction() -> None:
    assert judge(*contest(40, 0), first=True).decision == "undecided"


def test_different_rows_are_undecided_and_named() -> None:
    challenger, champion = contest(40, 0)
    ids = ("zz", *challenger.example_ids[1:])
    verdict = judge(replace(challenger, example_ids=ids), champion)
    assert verdict.decision == "undecided"
    assert failing(verdict) == ["same_rows"]
    assert "1 only by the challenger (such as zz)" in verdict.reasons[0].detail
    assert "1 only by the champion (such as e0000)" in verdict.reasons[0].detail


@pytest.mark.parametrize("first", [True, False])
def test_too_few_rows_are_undecided_even_below_the_floors(first: bool) -> None:
    challenger, champion = contest(40, 0, both=59)
    theirs = None if first else champion
    verdict = judge(challenger, theirs, first=first)
    assert verdict.decision == "undecided"
    assert failing(verdict) == ["holdout_size"]
    weak = replace(challenger, macro_f1=0.0)
    assert judge(weak, theirs, first=first).decision == "undecided"
    enough, other = contest(40, 0, both=60)
    assert judge(enough, None if first else other, first=first).decision == "promote"


@pytest.mark.parametrize(("right", "decision"), [(True, "promote"), (False, "undecided")])
def test_where_the_holdout_is_too_small_fresh_rows_decide(right: bool, decision: str) -> None:
    night = datetime(2026, 1, 1, tzinfo=UTC)
    fresh = [FreshRow(night, f"f{n}", f"g{n}", "gold", right, not right) for n in range(60)]
    verdict = judge(*contest(4, 1, both=40), trial=Trial.of(1, 0.01, fresh))
    assert verdict.decision == decision
    assert reason(verdict, "holdout_size").on is not right


def test_no_rows_at_all_are_undecided() -> None:
    assert judge(a_report("new", []), a_report("old", [])).decision == "undecided"
    assert judge(a_report("new", []), None, first=True).decision == "undecided"


def test_the_champion_cannot_replace_itself() -> None:
    challenger, champion = contest(40, 0)
    verdict = judge(replace(challenger, digest="old"), champion)
    assert verdict.decision == "reject"
    assert verdict.reasons == (Reason("new_model", False, "the challenger is the champion"),)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0])
@pytest.mark.parametrize("who", ["challenger", "champion", "first"])
@pytest.mark.parametrize(
    "name", ["accuracy", "macro_f1", "log_loss", "calibration_error", "latency_ms"]
)
def test_an_impossible_number_anywhere_never_promotes(name: str, who: str, bad: float) -> None:
    challenger, champion = contest(40, 0)
    if who == "champion":
        champion = replace(champion, **{name: bad})
    else:
        challenger = replace(challenger, **{name: bad})
    first = who == "first"
    verdict = judge(challenger, None if first else champion, first=first)
    assert verdict.decision == "undecided"
    assert failing(verdict) == ["usable_numbers"]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"per_class": {"bill": {"f1": math.nan}}}, id="NaN in a class"),
        pytest.param({"accuracy": 0.99}, id="accuracy is not the marks'"),
        pytest.param({"correct": (True,) * 159}, id="a mark too few"),
        pytest.param({"example_ids": ("e0001",) * 160}, id="rows twice"),
    ],
)
def test_a_report_that_contradicts_itself_never_promotes(changes: dict[str, Any]) -> None:
    challenger, champion = contest(39, 1)
    verdict = judge(replace(challenger, **changes), champion)
    assert failing(verdict) == ["usable_numbers"]
    assert verdict.decision == "undecided"


# --- Each rule --------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("rule", "challenger"),
    [
        ("min_accuracy", a_report("new", [True] * 99 + [False] * 101)),
        ("min_macro_f1", a_report("new", [True] * 150 + [False] * 50, macro_f1=0.39)),
        (
            "max_calibration_error",
            a_report("new", [True] * 150 + [False] * 50, calibration_error=0.21),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_missed_floor_alone_rejects(rule: str, challenger: Report, first: bool) -> None:
    champion = None if first else a_report("old", [False] * 200)
    verdict = judge(challenger, champion, first=first)
    assert verdict.decision == "reject"
    assert failing(verdict) == [rule]


def test_floors_are_met_when_reached_exactly() -> None:
    edge = a_report("new", [True, False] * 100, macro_f1=0.4, calibration_error=0.2)
    assert judge(edge, None, first=True).decision == "promote"


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (10, 10), (9, 10), (0, 30)])
def test_a_challenger_that_is_not_ahead_is_rejected(wins: int, losses: int) -> None:
    verdict = judge(*contest(wins, losses))
    assert verdict.decision == "reject"
    assert reason(verdict, "better_than_champion").passed is False


def test_a_lead_that_could_be_luck_is_undecided_and_asks_for_rows() -> None:
    verdict = judge(*contest(20, 14, both=266))
    assert verdict.decision == "undecided"
    assert failing(verdict) == ["better_than_champion"]
    assert "further labels would decide" in reason(verdict, "better_than_champion").detail


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("margin", [0.0, 0.02])
def test_as_many_rows_as_it_asks_for_decide_where_rows_go_together(
    size: int, margin: float
) -> None:
    """Of 24 groups 9 won a row: as much as 18 rows of their own would, the gain is not proven."""

    def pairs(groups: int) -> list[Pair]:
        return [
            Pair(f"g{group}", "gold", int(row == 0 and group % 8 < 3), f"g{group}")
            for group in range(groups)
            for row in range(size)
        ]

    alpha, asked = 1e-6, pairs(24)
    further = further_rows(asked, alpha=alpha, margin=margin)
    assert further is not None
    assert paired(asked, margin=margin).p_value > alpha
    enough = math.ceil((len(asked) + 1.25 * further) / size)
    assert paired(pairs(enough), margin=margin).p_value <= alpha
    too_few = (len(asked) + further // 4) // size
    assert paired(pairs(too_few), margin=margin).p_value > alpha


def test_a_missed_floor_rejects_even_when_the_comparison_is_open() -> None:
    challenger, champion = contest(20, 14, both=266)
    assert judge(replace(challenger, macro_f1=0.1), champion).decision == "reject"


def test_alpha_is_the_line() -> None:
    # 5 of 5: p = 1/32 = 0.03125 exactly.
    pair = contest(5, 0)
    assert judge(*pair, alpha=0.03125).decision == "promote"
    assert judge(*pair, alpha=0.0312).decision == "undecided"


def test_equal_models_promote_at_most_alpha() -> None:
    rng = np.random.default_rng(7)
    promoted = 0
    for _ in range(1_000):
        hard = rng.random(200) < 0.4
        ours, theirs = (np.where(hard, rng.random(200) < 0.5, True) for _ in range(2))
        verdict = judge(a_report("new", ours.tolist()), a_report("old", theirs.tolist()))
        promoted += verdict.decision == "promote"
    # Three standard errors above alpha: sqrt(0.05 * 0.95 / 1000) = 0.0069. Not vacuous: some pass.
    assert 0 < promoted / 1_000 <= RULES.alpha + 3 * 0.0069


# --- Row order --------------------------------------------------------------------------------


def reordered(report: Report, order: Sequence[int]) -> Report:
    return replace(
        report,
        example_ids=tuple(report.example_ids[i] for i in order),
        correct=tuple(report.correct[i] for i in order),
    )


@settings(max_examples=60, deadline=None)
@given(
    wins=st.integers(0, 15),
    losses=st.integers(0, 15),
    both=st.integers(80, 110),
    first=st.booleans(),
    data=st.data(),
)
def test_row_order_never_changes_the_verdict(
    wins: int, losses: int, both: int, first: bool, data: st.DataObject
) -> None:
    challenger, champion = contest(wins, losses, both)
    rows = range(len(challenger.example_ids))
    ours = reordered(challenger, data.draw(st.permutations(rows)))
    theirs = reordered(champion, data.draw(st.permutations(rows)))
    before = judge(challenger, None if first else champion, first=first)
    assert judge(ours, None if first else theirs, first=first) == before


def test_importing_the_gate_loads_no_heavy_library() -> None:
    code = (
        "import sys, flywheel.gate.decision; "
        "print([m for m in ('torch', 'sklearn', 'scipy', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
