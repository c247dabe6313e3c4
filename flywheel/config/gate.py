"""What may be promoted."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from flywheel.config.base import Section


class GateConfig(Section):
    """When a challenger may replace the champion. A rule that is not set is off, and shown so."""

    renamed = {"exam_share": "holdout_share", "min_exam_examples": "min_holdout_examples"}

    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """Chance, over the whole life of the use case, of ever promoting a challenger that is no
    better."""
    margin: float = Field(default=0.0, gt=-0.5, lt=0.5)
    """Gain in accuracy that must be shown. Negative: how much worse a challenger may be."""
    holdout_share: float = Field(default=0.5, gt=0, lt=1)
    """Share of ``alpha`` for questions to the holdout; the rest is for trials on fresh rows."""
    evidence_sources: list[str] = []
    """Sources whose fresh labels are evidence, besides gold, trusted ones and audits.

    How many answers get one is measured every night. Where wrong answers get one oftener than right
    ones, or may do so, a row that a challenger wins counts less than one that it loses.
    """
    min_evidence_customers: int = Field(default=3, ge=1)
    """Customers' rows speak for a challenger only when they are of at least so many customers.

    The same holds for a champion's predecessor. Rows of the company's own people need none, and nor
    do rows where no customer is named at all.
    """
    max_evidence_share: float = Field(default=0.2, gt=0, le=1)
    """The largest share of a night's evidence that one customer may have. 1: no cap.

    Where customers are too few for it, one may have as many rows as the second loudest.
    """
    dishonest_customers: int = Field(default=1, ge=0)
    """How many customers may lie, with as many rows as they like, while ``alpha`` still holds.

    A gain must show without those customers that bring most of it. 0: all are taken for honest.
    """
    dishonest_share: float = Field(default=0, ge=0, lt=1)
    """The same as a share of the customers in a trial, where that is more.

    Set it only where the same customers come back: of customers with one row each, a tenth is a
    gain of ten points.
    """
    unit: Literal["group", "row"] = "group"
    """What counts as one piece of evidence: all rows of a ``group`` together, or each ``row``.

    ``row`` decides sooner, and is right only where rows of a group go right or wrong independently.
    Flywheel measures that every night. Until a trial's rows show it, their groups count.
    """
    max_trial_nights: int = Field(default=14, ge=1)
    """Nights on fresh rows after which an undecided challenger gives way."""
    whole_weeks: bool = False
    """Fresh rows prove a gain only by whole weeks of nights.

    Set it where a challenger can be better on some days of the week and worse on others, as where
    other people write at weekends. A proof then takes seven nights at least.
    """
    restart_growth: float = Field(default=1.0, ge=0)
    """A newer challenger that learned from this share more examples replaces any on trial.

    One that learned from less more does so, too, unless the older one's own rows speak for it. What
    fresh rows have shown goes on counting. 0: each night's newest one does.
    """
    min_holdout_examples: int = Field(default=200, ge=1)
    """Holdout rows below which the holdout decides nothing. Fresh rows can, where a champion is."""
    min_accuracy: float | None = Field(default=None, ge=0, le=1)
    """The floor of accuracy. While there is no champion, the floors alone decide."""
    min_rouge_l: float | None = Field(default=None, ge=0, le=1)
    """The floor of written answers: the mean ROUGE-L F-measure."""
    tie_within: float = Field(default=0.05, ge=0, lt=1)
    """Two written answers to one row tie when their ROUGE-L differs by at most this.

    0.05 is about one word of a summary of twenty.
    """
    golden_rouge_l: float = Field(default=0.5, gt=0, le=1)
    """The ROUGE-L from which a written answer to a golden row is right."""
    min_macro_f1: float = Field(default=0.0, ge=0, le=1)
    """The floor of macro-F1, so that no rare label is given up. 0: off."""
    max_calibration_error: float = Field(default=1.0, ge=0, le=1)
    """The most by which confidence and accuracy may differ, on average. 1: off."""
    slices: list[Literal["label", "language", "length", "source", "month", "segment"]] = [
        "label",
        "length",
    ]
    """A challenger may be significantly worse on none of these, corrected for their number. Unset:
    off."""
    segments: dict[str, str] = {}
    """Customer segment → the regular expression that its group ids match."""
    slice_alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """Chance, per comparison, of refusing a challenger for a slice though it is worse on none."""
    min_slice_rows: int = Field(default=20, ge=1)
    """Slices with fewer rows are not compared."""
    abstain_below: float = Field(default=0.0, ge=0, lt=1)
    """Answers with a lower probability count as abstained."""
    max_abstention: float | None = Field(default=None, ge=0, le=1)
    """The largest share of abstained answers on the holdout."""
    max_latency_ms: float | None = Field(default=None, gt=0)
    """The most milliseconds per row, by the throughput that was measured on the holdout."""
    max_memory_mb: float | None = Field(default=None, gt=0)
    """The largest peak memory of the process that scored the holdout."""
    max_adapter_mb: float | None = Field(default=None, gt=0)
    """The largest size of the adapter's files on disk."""
    machine_cost_per_hour: float | None = Field(default=None, gt=0)
    """What the machine costs, in your currency; from it follows the cost of answers."""
    max_cost_per_thousand: float | None = Field(default=None, gt=0)
    """The highest cost of a thousand answers, from `machine_cost_per_hour` and the throughput."""
    leave_one_out: bool = True
    """Refuse a gain that is gone without the compared rows of one source or one group.

    Whose training rows made the gain is not asked: nothing is trained again without them.
    """
    max_disagreement: float | None = Field(default=None, ge=0, le=1)
    """The largest share of the newest requests that a challenger may answer otherwise than the
    champion."""
    max_served_difference: float = Field(default=0.02, ge=0, le=1)
    """The largest share of a trial's recorded answers that may differ from what was measured."""
    min_canary_groups: int = Field(default=20, ge=1)
    """Groups that each arm of a canary (`serving.canary_share`) needs; with fewer nobody is
    promoted."""
    canary_alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """Chance, per challenger, that a canary refuses a challenger that is no worse."""
    brake: Literal["off", "warn", "rollback"] = "warn"
    """What to do when fresh rows show that the champion is worse than its predecessor.

    ``warn``: every night says so as long as it serves. ``rollback``: the predecessor is champion
    again, once; a person who puts the other back is not overruled.
    """
    brake_alpha: float = Field(default=0.01, gt=0, lt=0.5)
    """Chance, per champion, of braking a champion that is no worse."""
    brake_nights: int = Field(default=7, ge=1)
    """For how many nights the predecessor is still compared."""
    verify_rows: int = Field(default=32, ge=1)
    """Holdout rows that the registered version answers again before the alias moves."""
