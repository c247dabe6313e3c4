"""Every rule of the gate: with it the challenger is refused, without it it is promoted."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flywheel.config import GateConfig
from flywheel.gate import rules as gate_rules
from flywheel.gate.comparison import Pair
from flywheel.gate.decision import decide
from flywheel.records import Contender, FreshRow, Question, Reason, Report, Row, Trial, Verdict
from tests.gate.test_gates import a_report

NIGHT = datetime(2026, 1, 2, tzinfo=UTC)
FIRST = Question(1, 0.05)
OFF: dict[str, Any] = {"slices": [], "leave_one_out": False}


def rules(**changes: Any) -> GateConfig:
    return GateConfig(**{"min_accuracy": 0.0, "min_holdout_examples": 100, **OFF, **changes})


def pair(wins: int, losses: int, both: int = 300) -> tuple[Contender, Contender]:
    ours = [True] * wins + [False] * losses + [True] * both
    theirs = [False] * wins + [True] * losses + [True] * both
    return Contender(a_report("new", ours)), Contender(a_report("old", theirs))


def rows_of(report: Report | None, **slices: list[str]) -> dict[str, Row]:
    assert report is not None
    return {
        name: Row(name, "bill", name, "gold", {kind: values[i] for kind, values in slices.items()})
        for i, name in enumerate(report.example_ids)
    }


def judge(
    ours: Contender,
    theirs: Contender,
    limits: GateConfig,
    *,
    rows: dict[str, Row] | None = None,
    question: Question | None = FIRST,
    trial: Trial | None = None,
    golden: int = 0,
) -> Verdict:
    return decide(
        challenger=ours,
        champion=theirs,
        first=False,
        rows=rows_of(ours.report) if rows is None else rows,
        question=question,
        trial=trial,
        limits=limits,
        golden=golden,
    )


def found(verdict: Verdict, rule: str) -> Reason:
    return next(reason for reason in verdict.reasons if reason.rule == rule)


def a_trial(gains: list[int], *, alpha: float = 0.02, per_night: int = 50) -> Trial:
    """Fresh rows, each of a group of its own: 1 the challenger alone was right, -1 the champion."""
    made = [
        FreshRow(
            NIGHT + timedelta(days=i // per_night), f"f{i}", f"g{i}", "app", gain > 0, gain < 0
        )
        for i, gain in enumerate(gains)
    ]
    return Trial(1, alpha, tuple(made))


# ---- Limits of answers


@pytest.mark.parametrize(
    ("rule", "limit", "broken"),
    [
        ("max_latency_ms", 3.0, {"report": {"latency_ms": 3.1}}),
        ("max_memory_mb", 900.0, {"memory_mb": 901.0}),
        ("max_adapter_mb", 5.0, {"adapter_mb": 5.5}),
        ("max_disagreement", 0.3, {"disagreement": 0.31}),
        ("max_abstention", 0.1, {"report": {"confidence": (0.2,) * 340}}),
    ],
)
def test_a_limit_refuses_what_is_over_it_and_only_that(
    rule: str, limit: float, broken: dict[str, Any]
) -> None:
    ours, theirs = pair(40, 0)
    measured = {"memory_mb": 10.0, "adapter_mb": 1.0, "disagreement": 0.1}
    good = replace(ours, **measured)
    assert good.report is not None
    report = replace(good.report, **broken.get("report", {}))
    bad = replace(good, **{k: v for k, v in broken.items() if k != "report"}, report=report)
    limits = rules(abstain_below=0.5, **{rule: limit})

    assert judge(good, theirs, limits).decision == "promote"
    assert judge(bad, theirs, limits).decision == "reject"
    assert found(judge(bad, theirs, limits), rule).passed is False
    assert judge(bad, theirs, rules()).decision == "promote", "nothing else refuses it"


def test_cost_follows_from_the_machine_and_the_time_taken() -> None:
    ours, theirs = pair(40, 0)
    # 2 ms a row at 18 an hour: 1,000 answers take 2 s and cost 0.01
    limits = rules(machine_cost_per_hour=18.0, max_cost_per_thousand=0.0099)
    assert found(judge(ours, theirs, limits), "max_cost_per_thousand").passed is False
    limits = rules(machine_cost_per_hour=18.0, max_cost_per_thousand=0.0101)
    assert judge(ours, theirs, limits).decision == "promote"


@pytest.mark.parametrize(
    "limit", [{"max_memory_mb": 900.0}, {"max_disagreement": 0.5}, {"max_cost_per_thousand": 1.0}]
)
def test_what_a_limit_needs_and_nobody_measured_never_promotes(limit: dict[str, float]) -> None:
    assert judge(*pair(40, 0), rules(**limit)).decision == "undecided"


def test_what_is_switched_off_is_shown_as_switched_off() -> None:
    verdict = judge(*pair(40, 0), rules())
    off = {reason.rule for reason in verdict.reasons if not reason.on}
    assert off == {
        "max_abstention",
        "max_latency_ms",
        "max_memory_mb",
        "max_adapter_mb",
        "max_cost_per_thousand",
        "max_disagreement",
        "golden",
        "slices",
        "leave_one_out",
        "served_as_measured",
        "canary",
    }
    assert verdict.decision == "promote"


# ---- Golden rows


def test_a_golden_row_that_newly_fails_refuses() -> None:
    ours, theirs = pair(40, 0)
    held = replace(theirs, golden=(True, True, False))
    worse = judge(replace(ours, golden=(True, False, True)), held, rules(), golden=3)
    assert worse.decision == "reject"
    assert "1 newly failing (row 2 first)" in found(worse, "golden").detail
    kept = judge(replace(ours, golden=(True, True, False)), held, rules(), golden=3)
    assert kept.decision == "promote"


def test_golden_answers_that_are_missing_never_promote() -> None:
    ours, theirs = pair(40, 0)
    assert judge(ours, theirs, rules(), golden=3).decision == "undecided"


def test_a_first_model_must_get_every_golden_row_right() -> None:
    ours, _ = pair(40, 0)
    for golden, decision in (((True, True), "promote"), ((True, False), "reject")):
        verdict = decide(
            challenger=replace(ours, golden=golden),
            champion=None,
            first=True,
            rows={},
            question=None,
            trial=None,
            limits=rules(),
            golden=2,
        )
        assert verdict.decision == decision


# ---- Slices and who makes the gain


def test_a_slice_that_got_worse_refuses_a_gain_elsewhere() -> None:
    ours, theirs = pair(60, 20)
    kinds = ["most"] * 60 + ["few"] * 20 + ["most"] * 280 + ["few"] * 20
    rows = rows_of(ours.report, length=kinds)
    limits = rules(slices=["length"])
    verdict = judge(ours, theirs, limits, rows=rows)
    assert verdict.decision == "reject"
    assert "length few: -50.0 points on 40 rows" in found(verdict, "slices").detail
    assert judge(ours, theirs, rules(), rows=rows).decision == "promote"


def test_small_slices_and_small_losses_do_not_refuse() -> None:
    ours, theirs = pair(60, 3)
    kinds = ["most"] * 60 + ["few"] * 3 + ["most"] * 290 + ["few"] * 10
    rows = rows_of(ours.report, length=kinds)
    limits = rules(slices=["length"], min_slice_rows=20)
    assert judge(ours, theirs, limits, rows=rows).decision == "promote"


def test_rows_of_unknown_slices_never_promote() -> None:
    limits = rules(slices=["length"])
    assert judge(*pair(60, 0), limits, rows={}).decision == "undecided"


@pytest.mark.parametrize("whose", ["group_id", "source"])
def test_a_gain_that_one_group_or_source_makes_alone_is_refused(whose: str) -> None:
    gains = [1] * 30
    rows = tuple(
        replace(row, **{whose: "one"} if i < 30 else {})
        for i, row in enumerate(a_trial(gains + [0] * 60 + [-1] * 2).rows)
    )
    # the group's nights are separate bets, so that wealth alone would promote
    spread = tuple(replace(row, as_of=NIGHT + timedelta(days=i)) for i, row in enumerate(rows))
    trial = Trial(1, 0.04, spread)
    ours, theirs = pair(1, 0)
    limits = rules(leave_one_out=True, max_trial_nights=200)
    verdict = judge(ours, theirs, limits, question=None, trial=trial)
    assert found(verdict, "better_than_champion").passed is True
    assert found(verdict, "leave_one_out").passed is False
    assert verdict.decision == "reject"
    alone = rules(max_trial_nights=200)
    assert judge(ours, theirs, alone, question=None, trial=trial).decision == "promote"


# ---- Trials on fresh rows


def test_fresh_rows_promote_what_the_holdout_could_not_tell() -> None:
    ours, theirs = pair(12, 8)
    assert judge(ours, theirs, rules(), question=Question(1, 0.004)).decision == "undecided"
    verdict = judge(ours, theirs, rules(), question=None, trial=a_trial([1, 1, 0, 0, 0] * 20))
    assert verdict.decision == "promote"
    assert "won 40, lost 0" in found(verdict, "better_than_champion").detail


def test_a_trial_without_fresh_rows_stays_open() -> None:
    verdict = judge(*pair(12, 8), rules(), question=None, trial=Trial(1, 0.02))
    assert verdict.decision == "undecided"


def test_an_open_trial_says_how_many_labels_would_decide() -> None:
    verdict = judge(
        *pair(12, 8), rules(), question=None, trial=a_trial([1, 0, 0, 0, -1, 1, 0, 0] * 5)
    )
    assert verdict.decision == "undecided"
    assert "further labels would decide" in found(verdict, "better_than_champion").detail


def test_fresh_rows_that_speak_against_it_end_a_trial() -> None:
    verdict = judge(*pair(12, 8), rules(), question=None, trial=a_trial([-1, 0, 0] * 20))
    assert verdict.decision == "reject"
    assert "it is worse" in found(verdict, "better_than_champion").detail


def test_a_trial_ends_with_its_nights() -> None:
    even = a_trial([1, -1] * 20, per_night=10)
    for nights, decision in ((5, "undecided"), (4, "reject")):
        limits = rules(max_trial_nights=nights)
        assert judge(*pair(12, 8), limits, question=None, trial=even).decision == decision


def test_the_holdout_is_not_asked_twice_about_the_same_challenger() -> None:
    ours, theirs = pair(60, 0)
    verdict = judge(ours, theirs, rules(), question=None, trial=Trial(1, 0.02))
    assert verdict.decision == "undecided"


def test_a_margin_must_be_beaten_on_the_holdout_and_on_fresh_rows() -> None:
    ours, theirs = pair(20, 4)
    trial = a_trial([1, 0, 0, 0, 0, 0, 0, 0, 0, 0] * 12)
    assert judge(ours, theirs, rules()).decision == "promote"
    assert judge(ours, theirs, rules(margin=0.08)).decision == "reject"
    assert judge(ours, theirs, rules(), question=None, trial=trial).decision == "promote"
    wanted = judge(ours, theirs, rules(margin=0.2), question=None, trial=trial)
    assert wanted.decision != "promote"


def test_rows_of_a_group_count_once_unless_they_are_said_to_go_their_own_ways() -> None:
    ours, theirs = pair(30, 6)
    rows = {
        n: replace(r, group_id=f"g{i % 12}")
        for i, (n, r) in enumerate(rows_of(ours.report).items())
    }
    asked = Question(1, 0.01)
    assert judge(ours, theirs, rules(), rows=rows, question=asked).decision == "undecided"
    assert judge(ours, theirs, rules(unit="row"), rows=rows, question=asked).decision == "promote"
    grouped = tuple(
        replace(row, group_id=f"g{i % 6}") for i, row in enumerate(a_trial([1, 1, 0, 0] * 12).rows)
    )
    trial = Trial(1, 0.02, grouped)
    assert judge(ours, theirs, rules(), question=None, trial=trial).decision == "undecided"
    by_row = rules(unit="row")
    verdict = judge(ours, theirs, by_row, question=None, trial=trial)
    assert verdict.decision == "undecided", "nothing has shown yet that they go their own ways"
    assert "in 1 night by group" in found(verdict, "better_than_champion").detail


def test_rows_that_are_almost_alike_are_one_piece_of_evidence_on_the_holdout() -> None:
    ours, theirs = pair(30, 0)
    alike = {n: replace(r, cluster_id="template") for n, r in rows_of(ours.report).items()}
    asked = Question(1, 0.01)
    assert judge(ours, theirs, rules(), question=asked).decision == "promote"
    assert judge(ours, theirs, rules(), rows=alike, question=asked).decision == "undecided"


def test_rows_by_themselves_are_no_surer_on_the_holdout_than_their_groups() -> None:
    """Three groups that went alike are three fair coins, and not 36."""
    ours, theirs = pair(36, 0)
    rows = {
        n: replace(r, group_id=f"g{i // 12}" if i < 36 else r.group_id)
        for i, (n, r) in enumerate(rows_of(ours.report).items())
    }
    verdict = judge(ours, theirs, rules(unit="row"), rows=rows, question=Question(1, 0.01))
    assert "p = 0.12" in found(verdict, "better_than_champion").detail


# ---- What one source, or the holdout, says of a gain on fresh rows


def test_one_audit_beside_reactions_refuses_no_gain() -> None:
    """It was a source of its own, without which nothing was left of the gain but itself."""
    trial = a_trial([1, 1, 0, 0, 0] * 20)
    drawn = replace(trial.rows[-1], source="audit", probability=0.01)
    beside = Trial(1, 0.02, (*trial.rows[:-1], drawn))
    verdict = judge(*pair(12, 8), rules(leave_one_out=True), question=None, trial=beside)
    assert found(verdict, "leave_one_out").passed is True
    assert verdict.decision == "promote"


@pytest.mark.parametrize(("wins", "losses", "decision"), [(12, 8, "promote"), (5, 15, "reject")])
def test_the_holdout_stops_what_fresh_rows_prove_where_it_shows_a_loss(
    wins: int, losses: int, decision: str
) -> None:
    """An error that training labels and customers' labels share is no gain."""
    trial = a_trial([1, 1, 0, 0, 0] * 20)
    verdict = judge(*pair(wins, losses), rules(), question=None, trial=trial)
    assert found(verdict, "better_than_champion").passed is True
    assert verdict.decision == decision


@pytest.mark.parametrize(
    ("wins", "losses", "margin", "passed"),
    [
        (9, 9, 0.0, True),
        (9, 11, 0.0, False),
        (0, 1, 0.0, False),
        # the use case allows a loss of two points of 300
        (9, 14, -0.02, True),
        (9, 30, -0.02, False),
    ],
)
def test_what_fresh_rows_prove_must_not_lose_on_the_holdout(
    wins: int, losses: int, margin: float, passed: bool
) -> None:
    """More rows lost than won is a loss, and so is more than the margin allows."""
    fates = [1] * wins + [-1] * losses + [0] * (300 - wins - losses)
    pairs = [Pair(f"g{n}", "gold", fate, f"g{n}") for n, fate in enumerate(fates)]
    assert gate_rules.holdout_veto(pairs, rules(margin=margin)).passed is passed
