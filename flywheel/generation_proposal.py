"""From a file of texts and what was written to them to a use case of kind text-generation.

A proposal written into a YAML file for a person to read and change, as in `flywheel.onboarding`.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from flywheel import baselines, rouge, token_counts
from flywheel.onboarding import (
    SOURCE,
    Columns,
    cut_warnings,
    fitting,
    prompt_tokens,
    quoted,
    title,
)
from flywheel.token_counts import Counting

EXAM_ROWS = 200
"""To write an answer takes far longer than to choose a label."""
MOST_PROMPT_TOKENS, MOST_NEW_TOKENS = 512, 256
TEMPLATE_TOKENS = 24
"""Room for the base's chat template, which stands around the prompt."""
LOOKED_AT = 500
"""Rows on which copying the beginning is tried."""
LEADS = (1, 3)


def proposal(
    name: str,
    found: Sequence[tuple[str, str, str | None]],
    columns: Columns,
    *,
    described: str,
    tokens: Counting,
) -> tuple[str, list[str]]:
    """The YAML of a use case that writes, and warnings; ``found`` has (text, reference, group)."""
    total = len(found)
    exam = min(0.2, max(0.05, round(EXAM_ROWS / total, 3)))
    copied = max(_copying(found, sentences=many) for many in LEADS)
    longest = max(max(len(text), len(reference)) for text, reference, _ in found)
    asked = f"Write the {title(columns.label).lower()} of this {title(columns.text).lower()}."
    asked += chr(10) + chr(10) + "{text}"
    lengths = prompt_tokens([text for text, *_ in found], asked, tokens)
    prompt = token_counts.limit(
        lengths, share=0.9, more=TEMPLATE_TOKENS, step=16, most=MOST_PROMPT_TOKENS
    )
    answers = tokens.of([reference for _, reference, _ in found])
    new = token_counts.limit(answers, share=0.98, more=1, step=16, most=MOST_NEW_TOKENS)
    warnings = cut_warnings([length + TEMPLATE_TOKENS for length in lengths], prompt, tokens)
    yaml = f"""\
# flywheel night -u {name}
name: {name}
kind: text-generation
description: {quoted(described)}

# Stands in the base's own chat template where it has one; the answer comes next.
prompt: {quoted(asked)}

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
  max_length_tokens: {prompt}  # {fitting(prompt, MOST_PROMPT_TOKENS, "90 %")}; {tokens.how}
  max_new_tokens: {new}  # an answer's length at most
  max_tokens_per_pass: {prompt + new}

gate:
  min_exam_examples: {min(100, max(1, round(exam * total * 0.8)))}
  min_rouge_l: {copied:.2f}  # what copying the first sentences reaches
"""
    return yaml, warnings


def _copying(found: Sequence[tuple[str, str, str | None]], *, sentences: int) -> float:
    return fmean(
        rouge.share(baselines.lead(text, sentences=sentences), [reference]).rouge_l
        for text, reference, _ in found[:LOOKED_AT]
    )
