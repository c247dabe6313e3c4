"""What the doctor found of gains, in words: what is evidence, what it shows, what is expected."""

from __future__ import annotations

import math
from collections.abc import Sequence

from flywheel.config import UseCase
from flywheel.diagnostics.recommendation import Advice
from flywheel.evaluation import learning_curve, live_acceptance
from flywheel.evaluation.learning_curve import Curve, Gain
from flywheel.evaluation.live_acceptance import Live
from flywheel.gate import coverage, trial_length, trial_progress
from flywheel.gate.coverage import Coverage
from flywheel.gate.power import (
    POWER,
    DetectableEffect,
    Standing,
    groups_to_show,
    next_trial_alpha,
)
from flywheel.influence import quorum
from flywheel.influence.quorum import Quorum
from flywheel.records import NightRecord, Trial
from flywheel.records.findings import Finding

_SHOWN_GAIN = 0.05
"""What audits by themselves should show."""


def fresh(use_case: UseCase, standing: Standing) -> Finding:
    rate = standing.fresh_per_night
    if rate is None:
        return Finding("fresh evidence", True, "unknown before a second night")
    detail = f"{rate:.1f} {use_case.gate.unit}s a night in the last {standing.nights} nights"
    if not rate:
        detail += (
            "; gold, trusted and audit labels are evidence, flywheel queue draws audits, and "
            "gate.evidence_sources names more"
        )
    return Finding("fresh evidence", True, detail + standing.short_of(use_case.gate))


def reactions(
    use_case: UseCase, known: Coverage, standing: Standing, *, disagreement: float
) -> Finding:
    """Which answers get a reaction, what that costs, and how many audits would do instead."""
    detail, won = coverage.in_words(known), known.least_won
    if won >= coverage.FAIR:
        return Finding("reactions", True, detail)
    nights = use_case.gate.max_trial_nights
    alone = groups_to_show(
        _SHOWN_GAIN, next_trial_alpha(standing, use_case.gate), disagreement=disagreement
    )
    needs = []
    number = coverage.audits_for(known.all, won=coverage.FAIR) if not known.cells else None
    if number:
        needs.append(f"about {number:,} audits of answers that nobody spoke of would end this")
    if alone:
        needs.append(
            f"about {math.ceil(alone / nights):,} audits a night show {100 * _SHOWN_GAIN:.0f} "
            f"points within {nights} nights by themselves"
        )
    how = f"(flywheel queue -u {use_case.name} --audit-share 1)"
    return Finding("reactions", True, "; ".join([detail, *needs]) + (f" {how}" if needs else ""))


def disagreement(compared: int, differing: int, *, assumed: float) -> Finding:
    if differing:
        detail = (
            f"{differing / compared:.1%} of {compared} holdout rows were right in only one of the "
            "last two models compared"
        )
    else:
        why = (
            f"the last two models compared were right on the same of {compared} holdout rows"
            if compared
            else "no two models were compared on this holdout"
        )
        detail = f"{assumed:.0%} assumed: {why}"
    return Finding("disagreement", True, detail)


def on_trial(use_case: UseCase, trial: Trial, *, examples: int, nights: int) -> Finding:
    """How the one on trial stands after so many ``nights``, and what ends the trial."""
    limits = use_case.gate
    stands = trial_progress.stand(trial, limits)
    detail = (
        f"trial {trial.number}: a challenger that learned from {examples} examples, {stands.rows} "
        f"fresh rows in {nights} nights"
    )
    if not stands.rows:
        return Finding("trial", True, f"{detail}; {trial_length.no_evidence(limits)}")
    if assumed := quorum.in_words(trial, Quorum.of(limits), alpha=limits.alpha):
        detail += f"; {assumed}"
    if stands.earlier:
        many = "s" * (stands.earlier != 1)
        detail += f"; what {stands.earlier} earlier challenger{many} showed counts with it"
    ends = f"after {limits.max_trial_nights} nights with fresh rows (gate.max_trial_nights)"
    ends = f"it ends when a newer challenger waits, or {ends}"
    if stands.further_groups is None:
        return Finding("trial", True, f"{detail}; they show no gain so far; {ends}")
    if stands.lacks_own:
        own = "what others showed is enough, and its own rows must speak for it, too"
        return Finding("trial", True, f"{detail}; {own}; {ends}")
    more = f"about {stands.further_groups:,} further {limits.unit}s would prove it at its pace"
    return Finding("trial", True, f"{detail}; {more}; {ends}")


def in_service(found: Live | None, holdout_accuracy: float | None) -> Finding:
    if found is None:
        return Finding(
            "in service", True, "no answers were served and reacted to in the last nights"
        )
    detail = f"until the night of {found.as_of:%Y-%m-%d %H:%M} UTC {live_acceptance.line(found)}"
    known = live_acceptance.shares(found)
    share = known.get("audited_right") or known.get("accepted")
    if share and holdout_accuracy is not None and share[2] < holdout_accuracy:
        detail += (
            f"; the holdout says {holdout_accuracy:.1%}: what customers ask now differs from it. "
            "flywheel queue --audit-share 1 draws rows that bring it up to date"
        )
    return Finding("in service", True, detail)


def visible(use_case: UseCase, sight: DetectableEffect, *, headroom: float | None) -> Finding:
    """What gain can be shown; ``headroom`` is the most that the champion leaves to gain."""
    name = "visible tonight" if sight.night == 1 else f"visible in {sight.night} nights"
    on = f"{sight.rows} " + (
        "holdout rows" if sight.where == "holdout" else f"fresh {use_case.gate.unit}s"
    )
    if sight.gain is None:
        who = " that can speak for one" if sight.where == "fresh" else ""
        return Finding(name, True, f"no gain, however large: {on}{who} are too few")
    if headroom is not None and sight.gain > headroom:
        return Finding(
            name,
            True,
            f"no possible gain: {on} show {100 * sight.gain:.1f} points or more, and the champion "
            f"leaves {100 * headroom:.1f} to gain",
        )
    return Finding(
        name, True, f"{100 * sight.gain:5.1f} points or more on {on} (chance {POWER:.0%})"
    )


def learning(curve: Curve | None, nights: Sequence[NightRecord]) -> Finding:
    judged = [night.facts for night in nights if night.digest]
    past = [
        f"{one['challenger_accuracy']:.3f} at {one['train_examples']}"
        for one in judged[-4:]
        if one.get("challenger_accuracy") is not None and one.get("train_examples")
    ]
    seen = f"; past nights on the holdout: {', '.join(past)} examples" if past else ""
    if curve is None:
        least = learning_curve.FEWEST_ROWS
        return Finding(
            "learning curve", True, f"is drawn from texts, and {least} examples at least{seen}"
        )
    points = ", ".join(f"{accuracy:.3f} at {rows}" for rows, accuracy in curve.points)
    return Finding(
        "learning curve", True, f"TF-IDF on {curve.held_out} rows held out: {points} examples{seen}"
    )


def expected_gain(
    curve: Curve | None, expected: Gain | None, standing: Standing, rows: int, incoming: int
) -> Finding:
    soon = f"about {rows + incoming} examples tonight ({rows}, and {incoming} of what waits)"
    if curve is None:
        detail = f"not known without a learning curve; {soon}"
    elif not standing.champion:
        detail = f"there is no champion yet to gain on; {soon}"
    elif standing.champion_rows == rows + incoming:
        detail = f"none: the champion learned from as many; {soon}"
    elif not standing.champion_rows:
        detail = f"not known: what the champion learned from is not on record; {soon}"
    elif expected is None:
        detail = (
            f"not known: the champion learned from {standing.champion_rows} examples, and the "
            f"curve tells up to twice as many; {soon}"
        )
    else:
        steep = rows > learning_curve.MOST_ROWS
        most = ", at most: the curve was drawn lower down, where it is steeper" if steep else ""
        detail = (
            f"{100 * expected.mean:+.1f} points ({100 * expected.low:+.1f} to "
            f"{100 * expected.high:+.1f}){most}, from the champion's {standing.champion_rows} "
            f"examples to {soon}"
        )
    return Finding("expected gain", True, detail)


def advised(advice: Advice) -> Finding:
    return Finding("recommendation", True, f"{advice.action}: {advice.why}")
