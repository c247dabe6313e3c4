"""From a file that names pictures to a use case: which column names them, and what settings suit.

What `flywheel.onboarding.classification` is for texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from flywheel.dataset.images import SUFFIXES, Images
from flywheel.errors import DataError
from flywheel.ingestion.column_contents import Row
from flywheel.ingestion.labeled_rows import Labeled
from flywheel.onboarding import classification, remarks, yaml_sections
from flywheel.onboarding.draft import Draft, Proposal
from flywheel.onboarding.method_choice import Method

LOOKED_AT = 20
"""Rows by which a column is told to name pictures."""
METHOD = Method("frozen_head", "efficientnet-lite0", "seconds a night, for everyday photos")


def picture_column(rows: Sequence[Row], beside: Path) -> str | None:
    """The first column whose first values all name picture files beside the table, if one does."""
    for name in dict.fromkeys(name for row in rows[:LOOKED_AT] for name in row):
        values = [str(row.get(name) or "") for row in rows[:LOOKED_AT]]
        if all(v.lower().endswith(SUFFIXES) and (beside / v).is_file() for v in values):
            return name
    return None


def kept(
    rows: Sequence[Labeled], column: str, images: Images, beside: Path
) -> tuple[list[Labeled], list[str]]:
    """The rows with addresses for paths, and why others cannot be used, one sentence each."""
    found, faults = [], []
    for row in rows:
        try:
            address, _ = images.addressed(row.text, beside)
        except DataError as error:
            faults.append(f"row {row.number}: {column} {error.message}")
        else:
            found.append(replace(row, text=address))
    return found, faults


def propose(draft: Draft, images: Images) -> Proposal:
    """A use case for rows that name pictures by address.

    Raises:
        DataError: as `flywheel.onboarding.classification.counted`.
    """
    counts = classification.counted(draft)
    plan = classification.planned(
        draft, tuple(counts), max_chars=classification.SERVED_CHARS, images=images
    )
    reasons = (
        remarks.holdout_reason(draft, plan),
        f"method: {METHOD.name} on {METHOD.base}: {METHOD.why}",
        remarks.evidence_reason(draft),
    )
    unseen = "" if all(plan.train.values()) else "\n  min_per_class: 0  # some have no row yet"
    yaml = f"""\
{yaml_sections.head(draft, "image-classification")}
# Inputs are pictures, named by path or address; there is no prompt.

{yaml_sections.label_section(draft, counts)}

{yaml_sections.split_section(draft, plan)}

{yaml_sections.curation_section(draft, classification.SERVED_CHARS)}

training:
  base: {METHOD.base}  # an entry of flywheel models, pinned by hash
  method: {METHOD.name}  # or: encoder_lora, full (dearer, for pictures unlike everyday photos)
  where: inline  # or: pool (deployment train/gpu in work pool gpu)
  min_examples: {yaml_sections.least_examples(plan)}  # with fewer a night is skipped{unseen}

serving:
  max_text_chars: 4000000  # a data: URL of 3 MB
  max_body_bytes: 8000000

gate:
  min_holdout_examples: {plan.minimum}  # the holdout has {plan.rows} pictures
{yaml_sections.floors(plan, counts)}
{yaml_sections.evidence_setting(draft)}
  slices: [label]
"""
    warnings = (
        *remarks.rare(counts, plan),
        *remarks.unjudged(draft, plan),
        *remarks.short_of(plan),
    )
    return Proposal(counts, plan, METHOD, reasons, warnings, yaml)
