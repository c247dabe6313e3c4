"""Decide whether a challenger may replace the champion.

Every doubt keeps the champion. ``promote`` needs every rule that is on to pass; ``reject`` means
that the challenger was measured and is not good enough; ``undecided`` means that it could not be
told yet: it goes on trial, or stays there.

Two things can show that a challenger is better. One question to the holdout, at the level that the
ledger still grants (`flywheel.stats.alpha_budget`); and wealth won on fresh rows, which were
labeled after both contenders were frozen (`flywheel.stats.e_process`). The other rules can only
refuse, so that using the holdout for them again and again cannot promote anything.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from statistics import fmean

from flywheel.config import GateConfig
from flywheel.gate import comparison, rules, trial_progress
from flywheel.gate.comparison import Pair
from flywheel.gate.coverage import FAIR
from flywheel.influence import quorum
from flywheel.influence.quorum import Quorum
from flywheel.records import Contender, Overlap, Question, Reason, Report, Row, Trial, Verdict
from flywheel.stats.design_effect import MOST


def decide(
    *,
    challenger: Contender,
    champion: Contender | None,
    first: bool,
    rows: Mapping[str, Row],
    question: Question | None,
    trial: Trial | None,
    limits: GateConfig,
    golden: int = 0,
    canary: bool = False,
    gone: str | None = None,
) -> Verdict:
    """Decide on a challenger from what was measured of it and of the champion on the same rows.

    Args:
        challenger: Its report is None when it has no answers.
        champion: None when there is no champion; its report is None when its answers are missing.
        first: The registry stated that there is no champion. Only then do the absolute floors
            decide alone; a missing champion is never taken for a first night.
        rows: example_id → what is known of each holdout row.
        question: What the ledger grants on the holdout tonight; None when it was asked before.
        trial: What fresh rows say so far; None when it was never on trial.
        limits: The use case's ``gate`` section.
        golden: How many golden rows the use case names.
        canary: Whether a share of groups is answered by whoever is challenger.
        gone: Why a champion that there was cannot be compared with, and what to do.

    Returns:
        The verdict with a reason for every rule, those that are switched off included. Row order
        does not matter. A doubt about the reports themselves, or a too small holdout where fresh
        rows do not prove a gain, is undecided before any rule can reject.
    """
    ours, theirs = challenger.report, champion.report if champion else None
    unusable = _unusable_report(ours, theirs, first=first, gone=gone)
    if unusable is not None or ours is None:
        reasons = (unusable or Reason("reports", None, "the challenger's answers are missing"),)
        return Verdict("reject" if reasons[0].passed is False else "undecided", reasons)
    size = rules.holdout_size(ours, limits)
    found = [
        size,
        *rules.floors(ours, limits),
        *rules.budgets(challenger, ours, limits),
        rules.golden(challenger, champion, wanted=golden),
    ]
    if theirs is None:
        found.append(_first_model())
    else:
        better, pairs, vetoes = _better(ours, theirs, rows, question, trial, limits)
        found += [
            *vetoes,
            rules.no_slice_worse(ours, theirs, rows, limits),
            rules.disagreement(challenger, limits),
            rules.leave_one_out(pairs, limits, proven=better.passed is True),
            rules.served_as_measured(trial, limits),
            rules.canary(trial, limits, on=canary),
            better,
        ]
        if size.passed is not True and vetoes:
            # the holdout is asked nothing then: fresh rows are no fewer for it
            found[0] = replace(size, detail=f"{size.detail}; fresh rows decide", on=False)
    outcomes = {reason.passed for reason in found if reason.on}
    if found[0].on and size.passed is not True:
        return Verdict("undecided", tuple(found))
    if False in outcomes:
        return Verdict("reject", tuple(found))
    return Verdict("promote" if outcomes == {True} else "undecided", tuple(found))


# --- Can the reports be used at all? ----------------------------------------------------------


def _unusable_report(
    challenger: Report | None, champion: Report | None, *, first: bool, gone: str | None
) -> Reason | None:
    """Find the first thing that stops the rules from being applied, if any."""
    if challenger is None:
        return Reason("reports", None, "the challenger's answers are missing")
    if first and champion is not None:
        detail = f"the registry states no champion, yet a report of one came ({champion.digest})"
        return Reason("reports", None, detail)
    if not first and champion is None:
        if gone:
            return Reason("champion", None, gone)
        return Reason("reports", None, "the champion's answers are missing")
    for who, report in (("challenger", challenger), ("champion", champion)):
        fault = None if report is None else next(_faults(report), None)
        if fault is not None:
            return Reason("usable_numbers", None, f"the {who}'s report cannot be used: {fault}")
    if champion is None:
        return None
    if (challenger.overlap is None) != (champion.overlap is None):
        detail = "only one of both wrote texts: a label and a text cannot be compared"
        return Reason("same_kind", None, detail)
    if challenger.digest == champion.digest:
        return Reason("new_model", False, "the challenger is the champion")
    return _same_rows(challenger, champion)


def _faults(report: Report) -> Iterator[str]:
    rows = len(report.example_ids)
    if len(report.correct) != rows:
        yield f"{rows} rows but {len(report.correct)} scores"
    twice = [row for row, count in Counter(report.example_ids).items() if count > 1]
    if twice:
        yield f"{len(twice)} rows occur more than once (such as {min(twice)})"
    shares = {
        "accuracy": report.accuracy,
        "macro_f1": report.macro_f1,
        "calibration_error": report.calibration_error,
    }
    for name, value in shares.items():
        # what written answers do not have is None, and no rule looks at it
        if value is not None and not 0 <= value <= 1:
            yield f"{name} is {value}, not in 0 to 1"
    for name, value in {"log_loss": report.log_loss, "latency_ms": report.latency_ms}.items():
        if value is not None and not (math.isfinite(value) and value >= 0):
            yield f"{name} is {value}, not a number of at least 0"
    for label, numbers in report.per_class.items():
        for name, value in numbers.items():
            if not math.isfinite(value):
                yield f"{name} of {label} is {value}"
    marked = sum(report.correct) / rows if rows else report.accuracy
    if not abs(marked - report.accuracy) <= 1e-6:
        yield f"accuracy is {report.accuracy} but {marked:.6f} of the rows are marked correct"
    if report.overlap is not None:
        yield from _overlap_faults(report.overlap, rows)


def _overlap_faults(overlap: Overlap, rows: int) -> Iterator[str]:
    if len(overlap.rows) != rows:
        yield f"{rows} rows but {len(overlap.rows)} of them have a ROUGE-L"
        return
    found = (overlap.rouge_1, overlap.rouge_2, overlap.rouge_l, *overlap.rows)
    if not all(0 <= value <= 1 for value in found):
        yield "a ROUGE is not in 0 to 1"
    elif rows and not abs(fmean(overlap.rows) - overlap.rouge_l) <= 1e-6:
        yield f"ROUGE-L is {overlap.rouge_l} but {fmean(overlap.rows):.6f} on the mean of the rows"


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
    return Reason("same_rows", None, f"different holdout rows: {detail}")


# --- Better? ----------------------------------------------------------------------------------


def _first_model() -> Reason:
    detail = "the registry states that there is no champion yet; the floors alone decide"
    return Reason("first_model", True, detail)


def _better(
    challenger: Report,
    champion: Report,
    rows: Mapping[str, Row],
    question: Question | None,
    trial: Trial | None,
    limits: GateConfig,
) -> tuple[Reason, list[Pair], list[Reason]]:
    """Whether the holdout or the fresh rows show a gain, and the pairs that show it (or the
    holdout's). And what the holdout says where fresh rows show it.

    ``passed`` is None when it is not told yet, False when there is nothing to wait for.
    """
    holdout = comparison.on_holdout(
        challenger,
        champion,
        rows,
        by_row=limits.unit == "row",
        tie_within=limits.tie_within,
    )
    asked, said = _on_holdout(holdout, question, limits)
    if trial is None:
        return Reason("better_than_champion", asked, said), holdout, []
    tried, told = _on_trial(trial, limits)
    fresh = (
        comparison.on_fresh_rows(trial, since=trial_progress.stand(trial, limits).since)
        if tried
        else []
    )
    passed = True if True in (asked, tried) else False if False in (asked, tried) else None
    detail = f"{told}; {said}"
    vetoes = [rules.holdout_veto(holdout, limits)] if tried else []
    return Reason("better_than_champion", passed, detail), fresh if tried else holdout, vetoes


def _on_holdout(
    pairs: list[Pair], question: Question | None, limits: GateConfig
) -> tuple[bool | None, str]:
    found = comparison.paired(pairs, margin=limits.margin)
    gain = (
        f"won {found.wins} rows, lost {found.losses} of {found.rows}, "
        f"gain {100 * found.gain:+.1f} points (95 % interval {100 * found.low:+.1f} to "
        f"{100 * found.high:+.1f})"
    )
    if question is None:
        return None, f"holdout, not asked tonight: {gain}"
    detail = f"holdout: {gain}, p = {found.p_value:.2g} (question {question.number} needs ≤ "
    detail += f"{question.alpha:.2g})"
    if found.gain <= limits.margin:
        return False, detail
    if found.p_value <= question.alpha:
        return True, detail
    further = comparison.further_rows(pairs, alpha=question.alpha, margin=limits.margin)
    if further is None:
        return None, detail
    return None, f"{detail}; about {further:,} further labels would decide, if the gain is real"


def _on_trial(trial: Trial, limits: GateConfig) -> tuple[bool | None, str]:
    stands = trial_progress.stand(trial, limits)
    detail = told_of_trial(trial, limits)
    if not stands.rows:
        return None, detail
    if stands.proven:
        return True, detail
    if stands.refuted:
        return False, f"{detail}; it is worse"
    if stands.nights >= limits.max_trial_nights:
        return False, f"{detail}; its nights are over"
    if not stands.further_groups:
        return None, detail
    rows = math.ceil(stands.further_groups * stands.rows / stands.groups)
    return None, f"{detail}; about {rows:,} further labels would decide, if it goes on so"


def told_of_trial(trial: Trial, limits: GateConfig) -> str:
    """How a trial stands, in numbers."""
    stands = trial_progress.stand(trial, limits)
    if not stands.rows:
        return f"trial {trial.number}: no fresh rows yet"
    alone = (
        f"its own rows must double what is bet on them, and made {math.exp(stands.own):.3g} of it"
        if stands.lacks_own
        else ""
    )
    weeks = "only whole weeks of nights prove (gate.whole_weeks)" if limits.whole_weeks else ""
    assumed = "; ".join(
        part
        for part in (
            alone,
            weeks,
            _bounded(trial),
            quorum.in_words(trial, Quorum.of(limits), alpha=limits.alpha),
        )
        if part
    )
    return (
        f"trial {trial.number}, {stands.nights} of {limits.max_trial_nights} nights, "
        f"{stands.rows} fresh rows in {stands.groups} {limits.unit}s{_widened(stands)}: "
        f"won {stands.wins}, "
        f"lost {stands.losses}, gain {100 * stands.raw_gain:+.1f} points, weighted "
        f"{100 * stands.gain:+.1f} ({100 * stands.low:+.1f} to {100 * stands.high:+.1f} at all "
        f"times), wealth {_with_earlier(trial)}{math.exp(stands.log_wealth):.3g} "
        f"(needs ≥ {math.exp(stands.needed):.3g})"
        f"{f'; {assumed}' if assumed else ''}"
    )


def _with_earlier(trial: Trial) -> str:
    """Whose rows the wealth was won on beside the challenger's own; empty where none were."""
    if not trial.earlier:
        return ""
    rows = sum(len(one.rows) for one in trial.earlier)
    many = len(trial.earlier) != 1
    return (
        f"with that of {len(trial.earlier)} earlier challenger{'s' * many} on {rows} rows against "
        "the same champion "
    )


def _bounded(trial: Trial) -> str:
    """What reactions count for, where they are selective; empty where they count as others do."""
    found = [row.won_weight / row.lost_weight for row in trial.rows if row.won_weight < 1]
    if not found or sum(found) >= FAIR * len(found):
        return ""
    return (
        f"on {len(found)} rows a win counts {sum(found) / len(found):.2f} of a loss, as wrong "
        "answers may get a reaction oftener than right ones (flywheel doctor)"
    )


def _widened(stands: trial_progress.Progress) -> str:
    """In how many nights `gate.unit: row` did not hold; empty where it always did."""
    if not stands.widened:
        return ""
    nights = f"{stands.widened} night{'s' * (stands.widened != 1)}"
    return (
        f" (in {nights} by group: that rows of a group go their own ways was not shown by then, "
        f"by a design effect of at most {MOST:g})"
    )
