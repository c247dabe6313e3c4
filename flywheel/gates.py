"""Decide whether a challenger may replace the champion.

Every doubt keeps the champion. ``promote`` needs every rule to pass; ``reject`` means that the
challenger was measured and is not good enough; ``undecided`` means that it could not be told.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from flywheel.config import GateConfig
from flywheel.records import Reason, Report, Verdict
from flywheel.statistics import (
    labels_to_decide,
    paired_difference_interval,
    paired_p_value,
    wilson_interval,
)


def decide(
    *, challenger: Report | None, champion: Report | None, first: bool, rules: GateConfig
) -> Verdict:
    """Decide on a challenger from its report and the champion's on the same exam rows.

    Args:
        challenger: None when it has no answers.
        champion: None when there is no champion, or when its answers are missing.
        first: The registry stated that there is no champion. Only then do the absolute floors
            decide alone; a missing champion report is never taken for a missing champion.
        rules: The use case's ``gate`` section.

    Returns:
        The verdict with a reason for every rule that was looked at. Row order does not matter. A
        doubt about the reports themselves, or a too small exam, is undecided before any rule can
        reject.
    """
    doubt = _doubt(challenger, champion, first=first)
    if doubt is not None:
        return Verdict("undecided" if doubt.passed is None else "reject", (doubt,))
    assert challenger is not None
    size = _exam_size(challenger, rules)
    floors = (
        _min_accuracy(challenger, rules),
        _min_macro_f1(challenger, rules),
        _max_calibration_error(challenger, rules),
    )
    versus = _first_model() if champion is None else _better(challenger, champion, rules)
    reasons = (size, *floors, versus)
    found = {reason.passed for reason in reasons}
    if size.passed is not True:
        return Verdict("undecided", reasons)
    if False in found:
        return Verdict("reject", reasons)
    return Verdict("promote" if found == {True} else "undecided", reasons)


# --- Can the reports be used at all? ----------------------------------------------------------


def _doubt(challenger: Report | None, champion: Report | None, *, first: bool) -> Reason | None:
    """Find the first thing that stops the rules from being applied, if any."""
    if challenger is None:
        return Reason("reports", None, "the challenger's answers are missing")
    if first and champion is not None:
        detail = f"the registry states no champion, yet a report of one came ({champion.digest})"
        return Reason("reports", None, detail)
    if not first and champion is None:
        return Reason("reports", None, "the champion's answers are missing")
    for who, report in (("challenger", challenger), ("champion", champion)):
        fault = None if report is None else next(_faults(report), None)
        if fault is not None:
            return Reason("usable_numbers", None, f"the {who}'s report cannot be used: {fault}")
    if champion is None:
        return None
    if challenger.digest == champion.digest:
        return Reason("new_model", False, "the challenger is the champion")
    return _same_rows(challenger, champion)


def _faults(report: Report) -> Iterator[str]:
    rows = len(report.example_ids)
    if len(report.correct) != rows:
        yield f"{rows} rows but {len(report.correct)} marks"
    twice = [row for row, count in Counter(report.example_ids).items() if count > 1]
    if twice:
        yield f"{len(twice)} rows occur more than once (such as {min(twice)})"
    shares = {
        "accuracy": report.accuracy,
        "macro_f1": report.macro_f1,
        "calibration_error": report.calibration_error,
    }
    for name, value in shares.items():
        if not 0 <= value <= 1:
            yield f"{name} is {value}, not in 0 to 1"
    for name, value in {"log_loss": report.log_loss, "latency_ms": report.latency_ms}.items():
        if not (math.isfinite(value) and value >= 0):
            yield f"{name} is {value}, not a number of at least 0"
    for label, numbers in report.per_class.items():
        for name, value in numbers.items():
            if not math.isfinite(value):
                yield f"{name} of {label} is {value}"
    marked = sum(report.correct) / rows if rows else report.accuracy
    if not abs(marked - report.accuracy) <= 1e-6:
        yield f"accuracy is {report.accuracy} but {marked:.6f} of the rows are marked correct"


def _same_rows(challenger: Report, champion: Report) -> Reason | None:
    ours, theirs = set(challenger.example_ids), set(champion.example_ids)
    if ours == theirs:
        return None
    parts = [
        f"{len(only)} only by the {who} (such as {min(only)})"
        for who, only in (("challenger", ours - theirs), ("champion", theirs - ours))
        if only
    ]
    detail = f"{len(ours & theirs)} rows answered by both, {', '.join(parts)}"
    return Reason("same_rows", None, f"different exam rows: {detail}")


# --- The rules --------------------------------------------------------------------------------


def _exam_size(challenger: Report, rules: GateConfig) -> Reason:
    rows = len(challenger.example_ids)
    detail = f"{rows} exam rows (needs ≥ {rules.min_exam_examples})"
    return Reason("exam_size", True if rows >= rules.min_exam_examples else None, detail)


def _min_accuracy(challenger: Report, rules: GateConfig) -> Reason:
    low, high = wilson_interval(sum(challenger.correct), len(challenger.correct))
    detail = (
        f"accuracy {challenger.accuracy:.4f}, 95 % interval {low:.3f} to {high:.3f} "
        f"(needs ≥ {rules.min_accuracy:g})"
    )
    return Reason("min_accuracy", challenger.accuracy >= rules.min_accuracy, detail)


def _min_macro_f1(challenger: Report, rules: GateConfig) -> Reason:
    detail = f"macro-F1 {challenger.macro_f1:.4f} (needs ≥ {rules.min_macro_f1:g})"
    return Reason("min_macro_f1", challenger.macro_f1 >= rules.min_macro_f1, detail)


def _max_calibration_error(challenger: Report, rules: GateConfig) -> Reason:
    error, most = challenger.calibration_error, rules.max_calibration_error
    detail = f"calibration error {error:.4f} (needs ≤ {most:g})"
    return Reason("max_calibration_error", error <= most, detail)


def _first_model() -> Reason:
    detail = "the registry states that there is no champion yet; the floors alone decide"
    return Reason("first_model", True, detail)


def _better(challenger: Report, champion: Report, rules: GateConfig) -> Reason:
    """Pair the reports by row; passed is None when ahead, but not clearly enough."""
    theirs = dict(zip(champion.example_ids, champion.correct, strict=True))
    pairs = [
        (mark, theirs[row])
        for row, mark in zip(challenger.example_ids, challenger.correct, strict=True)
    ]
    wins = sum(ours and not other for ours, other in pairs)
    losses = sum(other and not ours for ours, other in pairs)
    rows = len(pairs)
    p_value = paired_p_value(wins, losses)
    low, high = paired_difference_interval(wins, losses, rows)
    gain = (wins - losses) / rows if rows else 0.0
    detail = (
        f"won {wins} rows, lost {losses} of {rows}; p = {p_value:.2g} (needs ≤ {rules.alpha:g}); "
        f"gain {100 * gain:+.1f} points, 95 % interval {100 * low:+.1f} to {100 * high:+.1f}"
    )
    if p_value <= rules.alpha and wins > losses:
        return Reason("better_than_champion", True, detail)
    further = labels_to_decide(wins, losses, rows, alpha=rules.alpha)
    if further is None:
        return Reason("better_than_champion", False, detail)
    hint = f"about {further:,} further exam rows would decide, if the gain is real"
    return Reason("better_than_champion", None, f"{detail}; {hint}")
