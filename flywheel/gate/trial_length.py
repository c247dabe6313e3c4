"""How long a challenger stays on trial, while every night trains a newer one.

One challenger is on trial at a time, and bets on each night's fresh rows. Training goes on: each
night's newest challenger is asked its own question to the holdout, as if nobody stood trial. Where
that is open, it takes the place of the one on trial, and bets next. It needs not be proven alone:
what is asked is whether what is learned from feedback has become better than the champion. So the
levels of all that stood trial against one champion are bet on together
(`flywheel.influence.quorum.log_levels`): each of its own night and of all that come after. What
they have become is what fresh rows say. The challenger that stands when it reaches 1 is promoted,
if its own rows speak for it: alone they double what is bet on them
(`flywheel.gate.trial_progress.OWN`).

A challenger whose own rows speak for it so far (`flywheel.gate.trial_progress.OWN`) stays, until a
newer one learned from `gate.restart_growth` more examples: nights differ in how well training went.
Where a canary is served, which must go on showing one challenger until that is told, it stays, too.

**What the guarantee is.** Who stands trial is chosen from what was seen before tonight's rows are
bet on. While none of the challengers that stood is better than the champion, what their levels have
become together is a supermartingale, whatever made somebody choose, replace or stop one. So with at
most the chance that is granted a challenger is ever promoted by fresh rows while none that stood
against that champion was better. Where some were better and the one that stands is not, the levels
say nothing of it: there it is its own rows, the holdout's veto and the other rules that refuse.
`python -m benchmarks.gate` plays such lives, too (`spoiled`). The holdout's questions are about one
challenger, always.

When the champion changes, what the levels have become, and at most what was granted, is handed on
to the next trial (`flywheel.stats.alpha_budget`). So the chance of an error and the level left
never add up to more than was granted, and what is granted adds up to the budget. A place that
passes on before anything was bet hands on exactly its level and is granted nothing new. Whether
fresh rows refuted a challenger, or kept it in its place, counts beside the night's verdict as
verdicts (`flywheel.store.nights.trials.told`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flywheel.config import GateConfig
from flywheel.gate.trial_progress import OWN, Progress

Ending = Literal["promoted", "rejected", "superseded", "braked", "over"]


@dataclass(frozen=True)
class Tenure:
    """Whether a challenger stays on trial tonight (``ending`` None), and why, in words."""

    ending: Ending | None
    why: str


def tonight(stands: Progress, *, bet: bool, limits: GateConfig) -> Tenure:
    """What becomes of a trial that is not proven tonight, whoever else there is.

    ``bet`` says whether any rows came, those of a canary included.
    """
    if stands.proven:
        return Tenure(None, "its gain is proven on fresh rows")
    if stands.refuted:
        return Tenure("rejected", "it ended: fresh rows show it worse than the champion")
    if stands.nights >= limits.max_trial_nights:
        return Tenure(
            "over",
            f"it ended: {stands.nights} nights with fresh rows did not decide "
            "(gate.max_trial_nights)",
        )
    if not bet:
        return Tenure(None, no_evidence(limits))
    return Tenure(None, "it goes on")


def gives_way(
    stands: Progress,
    *,
    bet: bool,
    examples: int,
    newer_examples: int,
    canary: bool,
    limits: GateConfig,
) -> str | None:
    """Why the one on trial gives its place to a newer challenger; None when it keeps it.

    ``examples`` and ``newer_examples`` are what the two learned from; ``canary`` whether answers of
    the one on trial are served.
    """
    if stands.proven:
        return None
    if not bet:
        return f"{no_evidence(limits)}. A newer challenger takes its place and its whole level"
    kept = keeps_by_its_rows(
        stands,
        bet=bet,
        examples=examples,
        newer_examples=newer_examples,
        canary=canary,
        limits=limits,
    )
    if canary or kept:
        return None
    return (
        "it gives way to a newer challenger that learned from "
        f"{newer_examples} examples, not {examples}, and what its rows say is kept"
    )


def keeps_by_its_rows(
    stands: Progress,
    *,
    bet: bool,
    examples: int,
    newer_examples: int,
    canary: bool,
    limits: GateConfig,
) -> bool | None:
    """Whether its own rows speak for the one on trial, so that it stays; as `gives_way`.

    None where they do not decide that.
    """
    grown = newer_examples >= examples * (1 + limits.restart_growth)
    if stands.proven or not bet or canary or grown:
        return None
    return stands.own >= OWN


def no_evidence(limits: GateConfig) -> str:
    """What would end the wait for fresh rows, in words."""
    counted = (
        "no fresh rows have come to judge it by. What counts are labels given after it was trained "
        "from gold and trusted sources and audits (flywheel queue)"
    )
    if limits.evidence_sources:
        named = ", ".join(limits.evidence_sources)
        return (
            f"{counted}, and reactions from {named} (gate.evidence_sources), of which none that "
            "counts has come since"
        )
    return (
        f"{counted}. To let the reactions of customers decide, name their source in "
        "gate.evidence_sources; only do so where nearly every answer gets a reaction"
    )
