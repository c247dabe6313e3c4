"""The facts of a night's report, from what the night measured. Nothing is measured here.

`flywheel.reports.night_report` has their names; what was not measured is None.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from flywheel.config import GateConfig
from flywheel.evaluation.metrics import BINS
from flywheel.gate import comparison, rules, slices, trial_progress
from flywheel.gate.power import assumed_disagreement, visible_on_holdout
from flywheel.influence.quorum import Quorum, log_levels
from flywheel.records import (
    Contender,
    Example,
    Overlap,
    Question,
    Report,
    Row,
    Trial,
)
from flywheel.reports.night_report import NightReport
from flywheel.stats import alpha_budget
from flywheel.stats.alpha_budget import Told
from flywheel.stats.e_process import bets_by_night
from flywheel.stats.paired_tests import mean_interval, wilson_interval

SHOWN_NIGHTS = 30
"""Nights of evidence on a page, the newest; older ones count all the same."""
WORN = 0.1
"""A holdout that cannot see a gain of ten points any more should grow."""


def contender(one: Contender, rows: Mapping[str, Row], limits: GateConfig) -> dict[str, Any] | None:
    """How a contender did on the holdout; its accuracy as it is and weighted by the draw."""
    report = one.report
    if report is None:
        return None
    low, high = wilson_interval(sum(report.correct), len(report.correct))
    return {
        **(_written(report.overlap) if report.overlap else {}),
        "accuracy": report.accuracy,
        "low": low,
        "high": high,
        "macro_f1": report.macro_f1,
        "log_loss": report.log_loss,
        "calibration_error": report.calibration_error,
        "latency_ms": report.latency_ms,
        "memory_mb": one.memory_mb,
        "adapter_mb": one.adapter_mb,
        "cost_per_thousand": rules.cost_per_thousand(report, limits),
        "weighted_accuracy": weighted_accuracy(report, rows),
    }


def _written(overlap: Overlap) -> dict[str, float]:
    low, high = mean_interval(overlap.rows)
    return {
        "rouge_l": overlap.rouge_l,
        "rouge_l_low": low,
        "rouge_l_high": high,
        "rouge_1": overlap.rouge_1,
        "rouge_2": overlap.rouge_2,
    }


def weighted_accuracy(report: Report, rows: Mapping[str, Row]) -> float | None:
    """Accuracy with each row counted once per row it stands for; None where none was drawn."""
    weights = [
        1 / (rows[name].probability or 1.0) if name in rows else 1.0 for name in report.example_ids
    ]
    if all(weight == 1 for weight in weights):
        return None
    right = sum(weight for weight, mark in zip(weights, report.correct, strict=True) if mark)
    return right / sum(weights)


def confusion(report: Report, rows: Mapping[str, Row], labels: Sequence[str]) -> list[list[int]]:
    """Counts of holdout rows, by right label and by label answered."""
    counted = Counter(
        (rows[name].label, answer)
        for name, answer in zip(report.example_ids, report.answered, strict=True)
        if name in rows
    )
    return [[counted[right, answered] for answered in labels] for right in labels]


def reliability(report: Report) -> list[dict[str, float]]:
    """Mean confidence and accuracy in each tenth of confidence that has rows."""
    bins: dict[int, list[tuple[float, bool]]] = {}
    for sure, right in zip(report.confidence, report.correct, strict=True):
        bins.setdefault(min(BINS - 1, math.ceil(sure * BINS) - 1), []).append((sure, right))
    return [
        {
            "confidence": sum(sure for sure, _ in found) / len(found),
            "accuracy": sum(right for _, right in found) / len(found),
            "rows": len(found),
        }
        for _, found in sorted(bins.items())
    ]


def holdout_gain(
    challenger: Report, champion: Report, rows: Mapping[str, Row], limits: GateConfig
) -> dict[str, float]:
    """The gain on the holdout with its 95 % interval."""
    found = comparison.paired(
        comparison.on_holdout(challenger, champion, rows, by_row=True, tie_within=limits.tie_within)
    )
    return {"value": found.gain, "low": found.low, "high": found.high}


def further_labels(
    challenger: Report,
    champion: Report,
    rows: Mapping[str, Row],
    question: Question | None,
    limits: GateConfig,
) -> int | None:
    """How many more holdout rows would decide, if the gain is real; None: not asked, or none."""
    if question is None:
        return None
    by_row, tie_within = limits.unit == "row", limits.tie_within
    pairs = comparison.on_holdout(challenger, champion, rows, by_row=by_row, tie_within=tie_within)
    found = comparison.paired(pairs, margin=limits.margin)
    if found.gain <= limits.margin or found.p_value <= question.alpha:
        return None
    return comparison.further_rows(pairs, alpha=question.alpha, margin=limits.margin)


def slice_rows(
    challenger: Report, champion: Report, rows: Mapping[str, Row], limits: GateConfig
) -> list[dict[str, Any]]:
    """Every slice that was compared."""
    return [vars(one) for one in slices.compare(challenger, champion, rows, limits)]


def trials(before_gate: Trial | None, beside: Trial | None, limits: GateConfig) -> NightReport:
    """What fresh rows say of the one before the gate, and of another that was on trial tonight.

    The other one is named apart, because what the page says of tonight's version is not true of it.
    """
    return NightReport(
        evidence=evidence(before_gate, limits), evidence_beside=evidence(beside, limits)
    )


def evidence(trial: Trial | None, limits: GateConfig) -> dict[str, Any] | None:
    """The trial, night after night; None where no fresh rows came."""
    if trial is None or not trial.rows:
        return None
    margin, by_row = limits.margin, limits.unit == "row"
    quorum = Quorum.of(limits)
    stands = trial_progress.stand(trial, limits)
    own = {row.as_of for row in trial.rows}
    every = sorted(trial.since(0), key=lambda row: row.as_of)
    raw = bets_by_night(every, weighted=False, by_row=by_row)
    weighted = bets_by_night(every, by_row=by_row, margin=margin)
    shown = {*sorted(raw)[-SHOWN_NIGHTS:], *own}
    nights: list[dict[str, Any]] = []
    for as_of, found in groupby(every, lambda row: row.as_of):
        if as_of not in shown:
            continue
        tonight, gains, bets = list(found), [bet.gain for bet in raw[as_of]], weighted[as_of]
        become, _ = log_levels(
            trial_progress.levels(trial.until(as_of), margin=margin, by_row=by_row),
            margin=margin,
            quorum=quorum,
        )
        nights.append(
            {
                "as_of": as_of.isoformat(),
                "own": as_of in own,
                "rows": len(tonight),
                "groups": len(gains),
                "won": sum(r.challenger_right and not r.champion_right for r in tonight),
                "lost": sum(r.champion_right and not r.challenger_right for r in tonight),
                "gain": sum(gains) / len(gains),
                "weighted_gain": sum(b.gain for b in bets) / sum(b.weight for b in bets),
                "log_wealth": become + stands.needed,
            }
        )
    return {
        "number": trial.number,
        "alpha": trial.level,
        "threshold": stands.needed,
        "log_wealth": stands.log_wealth,
        "low": stands.low,
        "high": stands.high,
        "groups_to_decide": stands.further_groups,
        "nights": nights,
    }


def is_worn(ledger: Mapping[str, Any] | None) -> bool:
    """Whether a holdout, as `wear` describes it, should grow; of no comparison it is not known."""
    if ledger is None:
        return False
    return bool(ledger["questions"] and ledger["next_alpha"] > 0 and ledger["visible_gain"] > WORN)


def wear(
    asked: Sequence[Mapping[str, Any]],
    *,
    rows: int,
    disagreement: float | None,
    limits: GateConfig,
    told: Told,
) -> dict[str, Any]:
    """How worn the holdout is: the smallest gain that its next question sees, and when to grow it.

    ``asked`` holds the ledger's rows, the oldest first, each with ``as_of``, ``number``, ``alpha``
    (None: no comparison), ``share``, ``rows`` and ``decision``. ``told`` is what was told, trials
    beside verdicts included, as the doctor counts it. Before the first question nothing is worn.
    """
    differ = disagreement or assumed_disagreement(limits)
    questions = [one for one in asked if one["alpha"] is not None]
    budget = limits.alpha * limits.holdout_share
    left = alpha_budget.unspent(one["share"] for one in questions)
    level = alpha_budget.question_alpha(len(questions) + 1, told.chance, budget=budget, left=left)
    seen = visible_on_holdout(rows, level, disagreement=differ, margin=limits.margin)
    visible = 1.0 if seen is None else seen
    which = "next" if questions else "first"
    advice = f"The {which} question sees a gain of {100 * visible:.1f} points with chance 0.8."
    if questions and visible > WORN and level > 0:
        more = max(0, alpha_budget.rows_for(WORN, level, disagreement=differ) - rows)
        advice += (
            f" The holdout is worn: {more:,} further rows would bring that to {100 * WORN:g} "
            "points. Let flywheel queue draw audits; fresh rows decide meanwhile."
        )
    return {
        "alpha": limits.alpha,
        "questions": len(questions),
        "verdicts_so_far": len(told.moved) + len(told.refuted),
        "next_alpha": level,
        "rows": rows,
        "visible_gain": visible,
        "disagreement": differ,
        "advice": advice,
        "history": [
            {
                "as_of": one["as_of"].isoformat(),
                "number": one["number"],
                "alpha": one["alpha"],
                "decision": one["decision"],
                "visible_gain": alpha_budget.visible_gain(
                    one["alpha"], one["rows"], disagreement=differ
                ),
            }
            for one in questions
        ],
    }


def disagreement(challenger: Report, champion: Report, limits: GateConfig) -> float:
    """Share of the holdout on which one of both did better, in [0, 1]."""
    pairs = comparison.on_holdout(
        challenger, champion, {}, by_row=True, tie_within=limits.tie_within
    )
    return sum(pair.gain != 0 for pair in pairs) / len(pairs) if pairs else 0.0


def per_class(examples: Iterable[Example], labels: Sequence[str]) -> dict[str, int]:
    """Training examples of each label."""
    counted = Counter(e.label for e in examples if e.split == "train")
    return {label: counted[label] for label in labels}
