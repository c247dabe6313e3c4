"""The rules of the gate, one function each: what it looked at, in numbers, and whether it passed.

A limit that the use case does not set is switched off, and its reason says so. What a rule needs
and cannot know is undecided, never passed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flywheel.config import GateConfig
from flywheel.gate import canary as canaries
from flywheel.gate import comparison, slices
from flywheel.gate.comparison import Pair, gain_without, gain_without_customer, made_by_one
from flywheel.influence import quorum
from flywheel.records import Contender, Reason, Report, Row, Trial
from flywheel.stats.paired_tests import mean_interval, wilson_interval

HOUR_MS = 3_600_000
SEEN = 3
"""Slices that a reason names at most."""
VETO = 0.5
"""Chance of losses as large as the holdout's from which on they do not stop what fresh rows prove.

So one that loses more rows than it wins is stopped. Of those that are 2 points better that is one
in eight on 500 rows of which 15 % differ, and of those that are 2 points worse seven in eight.
"""


def holdout_size(report: Report, rules: GateConfig) -> Reason:
    """Fewer rows prove nothing."""
    rows = len(report.example_ids)
    detail = f"{rows} holdout rows (needs ≥ {rules.min_holdout_examples})"
    return Reason("holdout_size", True if rows >= rules.min_holdout_examples else None, detail)


def floors(report: Report, rules: GateConfig) -> list[Reason]:
    """What any served model must reach, champion or none."""
    if rules.min_rouge_l is not None:
        return [_rouge_floor(report, rules.min_rouge_l)]
    if rules.min_accuracy is None or report.macro_f1 is None:
        return [Reason("min_accuracy", None, "no floor, or no labels to measure it by")]
    low, high = wilson_interval(sum(report.correct), len(report.correct))
    accuracy = (
        f"accuracy {report.accuracy:.4f}, 95 % interval {low:.3f} to {high:.3f} "
        f"(needs ≥ {rules.min_accuracy:g})"
    )
    f1 = f"macro-F1 {report.macro_f1:.4f} (needs ≥ {rules.min_macro_f1:g})"
    return [
        Reason("min_accuracy", report.accuracy >= rules.min_accuracy, accuracy),
        Reason("min_macro_f1", report.macro_f1 >= rules.min_macro_f1, f1),
        _at_most(
            "max_calibration_error",
            report.calibration_error,
            rules.max_calibration_error,
            "calibration error {:.4f}",
        ),
        _at_most(
            "max_abstention", _abstention(report, rules), rules.max_abstention, "{:.3f} abstained"
        ),
    ]


def _rouge_floor(report: Report, floor: float) -> Reason:
    if report.overlap is None:
        return Reason("min_rouge_l", None, "there is no ROUGE-L: no texts were written")
    found = report.overlap
    low, high = mean_interval(found.rows)
    detail = (
        f"ROUGE-L {found.rouge_l:.4f}, 95 % interval {low:.3f} to {high:.3f} (needs ≥ {floor:g}); "
        f"ROUGE-1 {found.rouge_1:.3f}, ROUGE-2 {found.rouge_2:.3f}, "
        f"word for word {report.accuracy:.3f}"
    )
    return Reason("min_rouge_l", found.rouge_l >= floor, detail)


def budgets(contender: Contender, report: Report, rules: GateConfig) -> list[Reason]:
    """What an answer may take: time, memory, disk and money."""
    cost = cost_per_thousand(report, rules)
    return [
        _at_most("max_latency_ms", report.latency_ms, rules.max_latency_ms, "{:.1f} ms per row"),
        _at_most("max_memory_mb", contender.memory_mb, rules.max_memory_mb, "{:.0f} MB at most"),
        _at_most("max_adapter_mb", contender.adapter_mb, rules.max_adapter_mb, "{:.1f} MB on disk"),
        _at_most(
            "max_cost_per_thousand",
            cost,
            rules.max_cost_per_thousand,
            "{:.4f} per thousand answers",
        ),
    ]


def cost_per_thousand(report: Report, rules: GateConfig) -> float | None:
    """What a thousand answers cost on this machine at the throughput measured; None: unknown."""
    if rules.machine_cost_per_hour is None:
        return None
    return rules.machine_cost_per_hour * 1_000 * report.latency_ms / HOUR_MS


def golden(challenger: Contender, champion: Contender | None, *, wanted: int) -> Reason:
    """No golden row may fail that the champion gets right; a first model must get all right."""
    if wanted == 0:
        return Reason("golden", None, "the use case names no golden rows", on=False)
    ours = challenger.golden
    theirs = (True,) * wanted if champion is None else champion.golden
    if ours is None or theirs is None or not len(ours) == len(theirs) == wanted:
        return Reason("golden", None, f"the answers to {wanted} golden rows are missing")
    failed = [row for row in range(wanted) if theirs[row] and not ours[row]]
    named = f" (row {failed[0] + 1} first)" if failed else ""
    detail = f"{sum(ours)} of {wanted} golden rows right, {len(failed)} newly failing{named}"
    return Reason("golden", not failed, detail)


def no_slice_worse(
    challenger: Report, champion: Report, rows: Mapping[str, Row], rules: GateConfig
) -> Reason:
    """On no slice may it be significantly worse than the champion."""
    if not rules.slices:
        return Reason("slices", None, "switched off (gate.slices is empty)", on=False)
    missing = sum(name not in rows for name in challenger.example_ids)
    if missing:
        return Reason("slices", None, f"what slices {missing} holdout rows are in is not known")
    found = slices.compare(challenger, champion, rows, rules)
    worse = sorted((one for one in found if one.worse), key=lambda one: one.p_value)
    if not found:
        return Reason("slices", True, f"no slice has {rules.min_slice_rows} rows")
    least = min(found, key=lambda one: one.p_value)
    named = worse[:SEEN] or [least]
    told = "; ".join(
        f"{one.kind} {one.name}: {100 * one.gain:+.1f} points on {one.rows} rows, "
        f"p = {one.p_value:.2g}"
        for one in named
    )
    line = f"(worse when p ≤ {rules.slice_alpha / len(found):.2g})"
    return Reason(
        "slices", not worse, f"worse on {len(worse)} of {len(found)} slices {line}; {told}"
    )


def leave_one_out(pairs: Sequence[Pair], rules: GateConfig, *, proven: bool) -> Reason:
    """The gain must not be seen on one source's or one group's rows alone.

    It leaves out the compared rows (of the holdout, or fresh ones where a trial proved the gain) of
    the group that gains most, then of the source, then of the customer (where rows name any), and
    asks whether what is left still gains more than the margin. So it tells a model that got better
    for everybody from one that got better for a single customer, or on a single channel.

    It does not tell whose *training* rows made the gain: a customer whose feedback teaches
    something that helps everybody passes, as does one who harms nobody that is compared. Only
    training again without them would tell. Nor is there a test in it: the point estimate of what
    is left decides, and of few groups the best one easily holds half of the gain. Where all rows
    are of one group, source or customer there is nothing to leave out, and it passes as far as that
    goes.

    A source is another matter: one audit beside a thousand reactions is a source, too, and shows
    nothing by itself. There the gain is refused where the other rows show that they do not share it
    (`flywheel.gate.comparison.made_by_one`).

    Open while no gain is ``proven``.
    """
    if not rules.leave_one_out:
        return Reason("leave_one_out", None, "switched off (gate.leave_one_out)", on=False)
    told, passed = [], True
    found = [("group", gain_without(pairs, lambda pair: pair.group_id))]
    if quorum.speakers(pair.customers for pair in pairs):
        found.append(("customer", gain_without_customer(pairs)))
    for name, left in found:
        if left is None:
            told.append(f"all rows are of one {name}")
            continue
        gain, rows = left
        passed = passed and gain > rules.margin
        told.append(f"without the {name} that gains most ({rows} rows) {100 * gain:+.1f} points")
    alone = made_by_one(pairs, lambda pair: pair.source, margin=rules.margin)
    passed = passed and alone is None
    told.append(
        "no source makes the gain alone" if alone is None else f"the gain is one source's: {alone}"
    )
    return Reason("leave_one_out", passed or (False if proven else None), "; ".join(told))


def holdout_veto(pairs: Sequence[Pair], rules: GateConfig) -> Reason:
    """What fresh rows prove must not be a loss on the holdout, over what `gate.margin` allows.

    An error that training labels and the fresh rows' labels share makes a model better on those
    rows alone. The holdout is gold, and can tell. It is no question of the ledger's: it promotes
    nothing.
    """
    found, allowed = comparison.paired(pairs), max(0.0, -rules.margin)
    p_value = comparison.worse_p_value(pairs, margin=allowed)
    detail = (
        f"fresh rows show a gain; on the holdout {100 * found.gain:+.1f} points, a loss with "
        f"p = {p_value:.2g} (refused when p ≤ {VETO:g})"
    )
    return Reason("holdout_veto", found.gain >= -allowed or p_value > VETO, detail)


def disagreement(contender: Contender, rules: GateConfig) -> Reason:
    """Asked in the shadow of the champion, it must not answer all too much otherwise."""
    return _at_most(
        "max_disagreement",
        contender.disagreement,
        rules.max_disagreement,
        "{:.3f} of the newest requests answered otherwise",
    )


def served_as_measured(trial: Trial | None, rules: GateConfig) -> Reason:
    """What was answered in serving must be what is measured by asking the same adapter again.

    Ties apart, a difference means that rows are judged by answers that were not measured, or were
    changed on their way here. Open, not refused: further rows may show that it was few.
    """
    rows = [*trial.rows, *trial.canary] if trial else []
    met = [row for row in rows if row.differs is not None]
    if trial is None or not met:
        detail = "no answers were recorded in serving for fresh rows"
        return Reason("served_as_measured", None, detail, on=False)
    judged = ", ".join(f"{count} of the {arm}" for arm, count in trial.recorded.items())
    differ = sum(row.differs is True for row in met)
    detail = f"judged by recorded answers: {judged}, of {len(rows)} fresh rows; "
    if not differ:
        told = f"served and measured agree on {len(met)} rows"
        return Reason("served_as_measured", True, detail + told)
    detail += f"WARNING: served and measured disagree on {differ} of {len(met)} rows"
    passed = True if differ <= rules.max_served_difference * len(met) else None
    if passed is None and trial.nights >= rules.max_trial_nights:
        passed = False
    limit = f" (at most {rules.max_served_difference:g} of them)"
    return Reason("served_as_measured", passed, detail + limit)


def canary(trial: Trial | None, rules: GateConfig, *, on: bool) -> Reason:
    """Groups that were shown the challenger's answers must not fare worse than the others.

    Refuses, and never promotes. Where a canary is served (``on``) and either arm is small, there is
    not enough data, and the rule stays open until the trial's nights are over, so that what is not
    told gives way. Where none is served any more, what it showed counts. No customer decides alone
    (`flywheel.influence.quorum`): it must fare worse without the one who brings most of that in
    either arm.
    """
    over = on and trial is not None and trial.nights >= rules.max_trial_nights
    open_or_over = False if over else None
    jury = quorum.Quorum.of(rules)
    arms = canaries.compare(trial, alpha=rules.canary_alpha, quorum=jury) if trial else None
    if arms is None or not arms.challenger.groups:
        detail = "not enough data: no fresh rows of groups that were shown the challenger"
        if not on:
            detail = "no canary is served (serving.canary_share)"
        return Reason("canary", open_or_over, detail, on=on)
    told = "; ".join(
        f"{who} right on {'no' if arm.share is None else f'{100 * arm.share:.1f} % of'} rows of "
        f"{arm.groups} groups ({100 * arm.low:.1f} to {100 * arm.high:.1f} at all times{_but(arm)})"
        for who, arm in (("challenger", arms.challenger), ("champion", arms.champion))
    )
    if arms.worse:
        return Reason("canary", False, f"{told}; it is worse")
    if arms.groups < rules.min_canary_groups:
        needs = f"not enough data (needs {rules.min_canary_groups} groups of each)"
        return Reason("canary", open_or_over, f"{told}; {needs}", on=on)
    if any(_short(arm, rules) for arm in (arms.challenger, arms.champion)):
        needs = f"not enough data (needs {jury.customers} customers of each"
        named = "gate.min_evidence_customers"
        return Reason("canary", open_or_over, f"{told}; {needs}, {named})", on=on)
    return Reason("canary", True, f"{told}; not proven worse")


def _short(arm: canaries.Arm, rules: GateConfig) -> bool:
    """Whether too few customers spoke of an arm, and too few of the company's own people."""
    few = 0 < arm.customers < rules.min_evidence_customers
    return few and arm.own < rules.min_canary_groups


def _but(arm: canaries.Arm) -> str:
    """Whose word is left out of an arm; empty where nobody's is."""
    return f", whatever {arm.left_out} of its {arm.customers} customers say" if arm.left_out else ""


def _abstention(report: Report, rules: GateConfig) -> float | None:
    if not report.confidence:
        return None
    return sum(sure < rules.abstain_below for sure in report.confidence) / len(report.confidence)


def _at_most(rule: str, value: float | None, limit: float | None, told: str) -> Reason:
    shown = "not measured" if value is None else told.format(value)
    if limit is None:
        return Reason(rule, None, f"{shown}; switched off (gate.{rule})", on=False)
    passed = None if value is None else value <= limit
    return Reason(rule, passed, f"{shown} (needs ≤ {limit:g})")
