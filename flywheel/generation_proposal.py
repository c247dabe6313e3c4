"""From a file of texts and what was written to them to a use case of kind text-generation.

A proposal written into a YAML file for a person to read and change, as in `flywheel.onboarding`.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from flywheel import baselines, rouge
from flywheel.onboarding import SOURCE, Columns, quoted, title

EXAM_ROWS = 200
"""To write an answer takes far longer than to choose a label."""
MOST_PROMPT_TOKENS, MOST_NEW_TOKENS = 512, 256
LOOKED_AT = 500
"""Rows on which copying the beginning is tried."""
CHARS_PER_TOKEN = 3
"""The careful side of English."""
LEADS = (1, 3)


def proposal(
    name: str, found: Sequence[tuple[str, str, str | None]], columns: Columns, *, described: str
) -> str:
    """The YAML of a use case that writes; ``found`` holds (text, reference, group)."""
    total = len(found)
    exam = min(0.2, max(0.05, round(EXAM_ROWS / total, 3)))
    copied = max(_copying(found, sentences=many) for many in LEADS)
    longest = max(max(len(text), len(reference)) for text, reference, _ in found)
    prompt = _tokens(sorted(len(t) for t, *_ in found), share=0.9, more=40, most=MOST_PROMPT_TOKENS)
    new = _tokens(sorted(len(r) for _, r, _ in found), share=0.98, more=0, most=MOST_NEW_TOKENS)
    asked = f"Write the {title(columns.label).lower()} of this {title(columns.text).lower()}."
    return f"""\
# flywheel night -u {name}
name: {name}
kind: text-generation
description: {quoted(described)}

# Stands in the base's own chat template where it has one; the answer comes next.
prompt: {quoted(asked + chr(10) + chr(10) + "{text}")}

split:
  salt: {name}-1  # never change it: it decides who sits the exam
  exam: {exam}  # share of groups, about {round(exam * total)} rows
  validation: 0  # nothing is chosen by it

curation:
  gold_sources: [{SOURCE}, audit]  # trusted: the file that this was made from, and audits
  train_on_gold: true  # what is not in the exam may train
  max_chars: {max(2_000, longest)}
  max_examples: 1000  # more is better and slower

training:
  base: smollm2-135m-instruct  # an entry of flywheel/bases.py, pinned by hash
  where: inline  # or: pool (deployment train/gpu in work pool gpu)
  min_examples: {min(100, max(2, round(total * 0.5)))}
  epochs: 3
  learning_rate: 0.0005
  batch_size: 8
  max_length_tokens: {prompt}  # 9 of 10 texts have fewer; the others lose their end
  max_new_tokens: {new}  # an answer's length at most
  max_tokens_per_pass: {prompt + new}

gate:
  min_exam_examples: {min(100, max(1, round(exam * total * 0.8)))}
  min_rouge_l: {copied:.2f}  # what copying the first sentences reaches
"""


def _copying(found: Sequence[tuple[str, str, str | None]], *, sentences: int) -> float:
    return fmean(
        rouge.share(baselines.lead(text, sentences=sentences), [reference]).rouge_l
        for text, reference, _ in found[:LOOKED_AT]
    )


def _tokens(lengths: Sequence[int], *, share: float, more: int, most: int) -> int:
    """Tokens of the text at ``share`` of the sorted ``lengths`` (characters), rounded up by 16."""
    tokens = lengths[int(share * (len(lengths) - 1))] // CHARS_PER_TOKEN + more
    return min(most, max(16, -(-tokens // 16) * 16))
