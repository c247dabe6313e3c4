"""What may be promoted."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from flywheel.config.base import Section


class GateConfig(Section):
    """When a challenger may replace the champion. What is None is switched off, and shown so."""

    renamed = {"exam_share": "holdout_share", "min_exam_examples": "min_holdout_examples"}

    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """Chance, over the whole life of the use case, of ever promoting one that is no better."""
    margin: float = Field(default=0.0, gt=-0.5, lt=0.5)
    """Gain in accuracy that must be shown; negative: how much worse a challenger may be."""
    holdout_share: float = Field(default=0.5, gt=0, lt=1)
    """Share of ``alpha`` for questions to the holdout; the rest is for trials on fresh rows."""
    evidence_sources: list[str] = []
    """Sources whose fresh labels are evidence, besides gold, trusted ones and audits.

    Name one only where nearly every answer gets a reaction: complaints alone always speak against
    the champion.
    """
    min_evidence_customers: int = Field(default=3, ge=1)
    """Customers of whom rows must have come before customers' rows speak for a challenger, or for a
    champion's predecessor. The company's own labels need none; nor do rows that name nobody, where
    none does. See `flywheel.influence.quorum`, as for the two below."""
    max_evidence_share: float = Field(default=0.2, gt=0, le=1)
    """Share of a night's pieces of evidence that one customer may have. Where customers are too few
    for it: as many as the second loudest. 1: no cap."""
    dishonest_customers: int = Field(default=1, ge=0)
    """How many customers may lie, of as many rows as they like, and ``alpha`` holds all the same:
    a gain must show without those that bring most of it. 0: all are taken for honest."""
    dishonest_share: float = Field(default=0, ge=0, lt=1)
    """The same as a share of the customers in a trial, where that is more. Only where customers
    come back: of those with a row each, a tenth is a gain of ten points."""
    unit: Literal["group", "row"] = "group"
    """What counts as one piece of evidence: all rows of a group together, or each by itself.

    ``row`` decides sooner, and is right only where rows of a group go right or wrong on their own.
    """
    max_trial_nights: int = Field(default=14, ge=1)
    """Nights on fresh rows after which a challenger that is not decided gives way."""
    restart_growth: float = Field(default=0.1, gt=0)
    """A newer challenger that learned from this share more examples takes the place of the one on
    trial, unless that one is on its way to be proven in time; see `flywheel.gate.trial_length`."""
    min_holdout_examples: int = Field(default=200, ge=1)
    """Holdout rows below which a comparison is undecided."""
    min_accuracy: float | None = Field(default=None, ge=0, le=1)
    """Absolute floor; the floors alone decide while there is no champion."""
    min_rouge_l: float | None = Field(default=None, ge=0, le=1)
    """The floor of written answers: mean ROUGE-L F-measure, see docs/guides/written-answers.md."""
    tie_within: float = Field(default=0.05, ge=0, lt=1)
    """Two written answers to one row tie when their ROUGE-L differs by no more.

    0.05 is about one word of a summary of twenty.
    """
    golden_rouge_l: float = Field(default=0.5, gt=0, le=1)
    """From which ROUGE-L on a written answer to a golden row is right."""
    min_macro_f1: float = Field(default=0.0, ge=0, le=1)
    """The floor of macro-F1, so that no rare label is given up. 0: off."""
    max_calibration_error: float = Field(default=1.0, ge=0, le=1)
    """The most by which confidence and accuracy may differ, on average. 1: off."""
    slices: list[Literal["label", "language", "length", "source", "month", "segment"]] = [
        "label",
        "length",
    ]
    """On none of these may it be significantly worse; corrected for their number. Empty: off."""
    segments: dict[str, str] = {}
    """Customer segment → regular expression that its group ids match."""
    slice_alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """Chance per comparison that a challenger worse on no slice is refused for one."""
    min_slice_rows: int = Field(default=20, ge=1)
    """Smaller slices are not compared."""
    abstain_below: float = Field(default=0.0, ge=0, lt=1)
    """Answers less sure than this count as abstained."""
    max_abstention: float | None = Field(default=None, ge=0, le=1)
    """The largest share of holdout rows that may be abstained."""
    max_latency_ms: float | None = Field(default=None, gt=0)
    """Milliseconds per row at the throughput measured on the holdout."""
    max_memory_mb: float | None = Field(default=None, gt=0)
    """Peak memory of the process that scored the holdout."""
    max_adapter_mb: float | None = Field(default=None, gt=0)
    """Size of the adapter's files on disk."""
    machine_cost_per_hour: float | None = Field(default=None, gt=0)
    """What the machine costs, in your currency, for cost per thousand answers."""
    max_cost_per_thousand: float | None = Field(default=None, gt=0)
    """Cost of a thousand answers, from ``machine_cost_per_hour`` and the holdout's throughput."""
    leave_one_out: bool = True
    """Refuse a gain that is gone without the compared rows of one source or one group.

    Whose training rows made the gain is not asked: nothing is trained again without them.
    """
    max_disagreement: float | None = Field(default=None, ge=0, le=1)
    """Share of the newest requests that may be answered otherwise than by the champion."""
    max_served_difference: float = Field(default=0.02, ge=0, le=1)
    """Share of a trial's recorded answers that may differ from what was measured."""
    min_canary_groups: int = Field(default=20, ge=1)
    """Groups of each arm without which a canary (`serving.canary_share`) promotes nobody."""
    canary_alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """Chance, per challenger, that a canary refuses one that is no worse."""
    brake: Literal["off", "warn", "rollback"] = "warn"
    """What to do when fresh rows show the champion worse than its predecessor.

    ``warn``: every night says so as long as it serves. ``rollback``: the predecessor is champion
    again, once; a person who puts the other back is not overruled.
    """
    brake_alpha: float = Field(default=0.01, gt=0, lt=0.5)
    """Chance, per champion, of braking one that is no worse."""
    brake_nights: int = Field(default=7, ge=1)
    """Nights for which a predecessor is still asked."""
    verify_rows: int = Field(default=32, ge=1)
    """Holdout rows that the registered version answers again before the alias moves."""
