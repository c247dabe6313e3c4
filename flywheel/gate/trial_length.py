"""How long a challenger stays on trial, while every night trains a newer one.

One challenger is on trial at a time, so that one budget pays for one bet on each night's fresh
rows. Training goes on meanwhile: each night's newest challenger is asked its own question to the
holdout, as if nobody stood trial, and takes the place of the one on trial as soon as that costs
nothing or the older one is not on its way to a proof:

- nothing was bet yet: the newer one takes the place, its number and its whole level;
- the newer one learned from `gate.restart_growth` more examples, and at its pace so far the older
  one would not be proven before its nights are over.

**Why the guarantee stays.** Who stands trial is chosen from what was seen before tonight's rows are
bet on, and each bet is on one frozen challenger: given that past, its wealth is a supermartingale
whatever made somebody choose it or stop. A trial that ends, for whatever reason, hands on its level
times its wealth and at most its level (`flywheel.stats.alpha_budget`), to one later trial only. So
the chance of an error and the level left never add up to more than was granted, and what is granted
adds up to the budget. A place that passes on before anything was bet hands on exactly its level and
is granted nothing new. What is shown of a trial beside the night's verdict counts as one more
verdict (`flywheel.store.nights.trials.verdicts_so_far`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flywheel.config import GateConfig
from flywheel.gate.comparison import Progress

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
    if on_pace(stands, limits):
        return Tenure(None, "it goes on, and at its pace it will be proven in time")
    return Tenure(None, "it goes on; at its pace so far it will not be proven in time")


def gives_way(
    stands: Progress, *, bet: bool, examples: int, newer_examples: int, limits: GateConfig
) -> str | None:
    """Why the one on trial gives its place to a newer challenger; None when it keeps it.

    ``examples`` and ``newer_examples`` are what the two learned from.
    """
    if stands.proven:
        return None
    if not bet:
        return f"{no_evidence(limits)}. A newer challenger takes its place and its whole level"
    grown = newer_examples >= examples * (1 + limits.restart_growth)
    if not grown or on_pace(stands, limits):
        return None
    return (
        "at its pace it would not be proven in time, so it gives way to a newer challenger that "
        f"learned from {newer_examples} examples, not {examples} (gate.restart_growth)"
    )


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


def on_pace(stands: Progress, limits: GateConfig) -> bool:
    """Whether the trial would be proven before its nights are over, if it goes on as so far."""
    if stands.further_groups is None or not stands.nights:
        return False
    nights_left = limits.max_trial_nights - stands.nights
    return stands.further_groups <= nights_left * stands.groups / stands.nights
