"""From a file that names pictures to a use case: which column names them, and what settings suit.

What `flywheel.onboarding` is for texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from flywheel import onboarding
from flywheel.errors import DataError
from flywheel.images import SUFFIXES, Images
from flywheel.onboarding import Columns, Proposal, Row

LOOKED_AT = 20
"""Rows by which a column is told to name pictures."""


def picture_column(rows: Sequence[Row], beside: Path) -> str | None:
    """The first column whose first values all name picture files beside the table, if one does."""
    for name in dict.fromkeys(name for row in rows[:LOOKED_AT] for name in row):
        values = [str(row.get(name) or "") for row in rows[:LOOKED_AT]]
        if all(v.lower().endswith(SUFFIXES) and (beside / v).is_file() for v in values):
            return name
    return None


def kept(
    rows: Sequence[Row], columns: Columns, images: Images, beside: Path
) -> tuple[list[dict[str, object]], list[str]]:
    """The rows with addresses for paths, and why others cannot be used, one sentence each."""
    found, faults = [], []
    for number, row in enumerate(rows, start=1):
        try:
            address, _ = images.addressed(str(row.get(columns.text) or "").strip(), beside)
        except DataError as error:
            faults.append(f"row {number}: {columns.text} {error.message}")
        else:
            found.append({**row, columns.text: address})
    return found, faults


def propose(name: str, rows: Sequence[Row], columns: Columns, *, described: str) -> Proposal:
    """A use case for rows that name pictures by address.

    Raises:
        DataError: as `flywheel.onboarding.propose`.
    """
    made = onboarding.propose(name, rows, columns, described=described)
    total = sum(made.counts.values())
    return replace(made, yaml=_yaml(name, total, made.counts, described))


def _yaml(name: str, total: int, counts: Mapping[str, int], described: str) -> str:
    exam = min(0.3, max(0.05, round(onboarding.EXAM_ROWS / total, 3)))
    majority = max(counts.values()) / total
    quoted = onboarding.quoted
    labels = "\n".join(
        f"  {quoted(label)}: {quoted(label)}  # {n} rows" for label, n in counts.items()
    )
    return f"""\
# flywheel night -u {name}
name: {name}
kind: image-classification  # inputs are pictures, named by path or address; there is no prompt
description: {quoted(described)}

# Label: its meaning in one line, for people. The order is that of every probability vector.
labels:
{labels}

split:
  salt: {name}-1  # never change it: it decides who sits the exam
  exam: {exam}  # share of groups, about {round(exam * total)} rows
  validation: 0.1

curation:
  gold_sources: [{onboarding.SOURCE}, audit]  # trusted: the file this was made from, audits
  train_on_gold: true  # what is not in the exam may train
  max_examples: 5000

training:
  base: efficientnet-lite0  # an entry of flywheel/bases.py, pinned by hash
  method: frozen_head  # or: encoder_lora, full (dearer, for pictures unlike everyday photos)
  where: inline  # or: pool (deployment train/gpu in work pool gpu)
  min_examples: {min(100, max(2 * len(counts), round(total * 0.5)))}
  max_tokens_per_pass: 800  # of 49 for each picture: 16 pictures at a time

serving:
  max_text_chars: 4000000  # a data: URL of 3 MB
  max_body_bytes: 8000000

gate:
  min_exam_examples: {min(200, max(1, round(exam * total * 0.8)))}
  min_accuracy: {min(0.99, round(majority + 0.05, 2))}  # the commonest label: {majority:.2f}
  min_macro_f1: {round(0.5 / len(counts) + 0.05, 2)}
  slices: [label]
"""
