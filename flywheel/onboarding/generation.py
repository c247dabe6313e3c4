"""From a file of texts and what was written to them to a use case of kind text-generation.

A proposal written into a YAML file for a person to read and change, as in
`flywheel.onboarding.classification`.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from flywheel.errors import DataError
from flywheel.evaluation import baselines, rouge
from flywheel.ingestion.labeled_rows import Labeled
from flywheel.modeling import token_counts
from flywheel.modeling.token_counts import Counting
from flywheel.onboarding import classification, remarks, yaml_sections
from flywheel.onboarding.classification import BASE
from flywheel.onboarding.draft import Draft, Proposal
from flywheel.onboarding.method_choice import Method

HOLDOUT_ROWS = 200
"""To write an answer takes far longer than to choose a label."""
MOST_PROMPT_TOKENS, MOST_NEW_TOKENS = 512, 256
TEMPLATE_TOKENS = 24
"""Room for the base's chat template, which stands around the prompt."""
LOOKED_AT = 500
"""Rows on which copying the beginning is tried."""
LEADS = (1, 3)
LEAST_FLOOR = 0.1
"""Of the ROUGE-L proposed, where copying reaches nothing: a floor of 0 would be none."""
METHOD = Method("qlora", BASE, "the only small base here that writes")


def propose(draft: Draft, *, tokens: Counting | None = None) -> Proposal:
    """A use case that writes; the label of a row is what is to be written.

    Raises:
        DataError: fewer than two rows.
    """
    found = draft.rows
    if len(found) < 2:
        raise DataError("Fewer than two rows have a text and a reference. Nothing was written.")
    tokens = tokens or Counting(token_counts.bounds, exact=False)
    copied = max(_copying(found, sentences=many) for many in LEADS)
    longest = max(classification.SERVED_CHARS, *(max(len(r.text), len(r.label)) for r in found))
    plan = classification.planned(draft, (), max_chars=longest, wanted=HOLDOUT_ROWS, validation=0)
    asked = _asked(draft)
    lengths = remarks.prompt_tokens([row.text for row in found], asked, tokens)
    prompt = token_counts.limit(
        lengths, share=0.9, more=TEMPLATE_TOKENS, step=16, most=MOST_PROMPT_TOKENS
    )
    answers = tokens.of([row.label for row in found])
    new = token_counts.limit(answers, share=0.98, more=1, step=16, most=MOST_NEW_TOKENS)
    warnings = remarks.cut_warnings(
        [length + TEMPLATE_TOKENS for length in lengths], prompt, tokens
    )
    fits = yaml_sections.fitting(prompt, MOST_PROMPT_TOKENS, "90 %")
    yaml = f"""\
{yaml_sections.head(draft, "text-generation")}

# Stands in the base's own chat template where it has one; the answer comes next.
prompt: {yaml_sections.quoted(asked)}

{yaml_sections.columns_section(draft)}

{yaml_sections.split_section(draft, plan, validation=0)}

{yaml_sections.curation_section(draft, longest)}

training:
  base: {BASE}  # an entry of flywheel models, pinned by hash
  where: inline  # or: pool (deployment train/gpu in work pool gpu)
  min_examples: {yaml_sections.least_examples(plan)}  # with fewer a night is skipped
  epochs: 3
  learning_rate: 0.0005
  batch_size: 8
  max_length_tokens: {prompt}  # {fits}; {tokens.how}
  max_new_tokens: {new}  # an answer's length at most

gate:
  min_holdout_examples: {min(100, plan.minimum)}  # the holdout has {plan.rows} rows
  min_rouge_l: {max(copied, LEAST_FLOOR):.2f}  # copying the first sentences reaches {copied:.2f}
"""
    return Proposal(
        counts={},
        plan=plan,
        method=METHOD,
        reasons=(
            remarks.holdout_reason(draft, plan),
            f"method: {METHOD.name} on {METHOD.base}: {METHOD.why}",
            "evidence: texts written without an answer in sight (flywheel queue); edited answers "
            "train, and are near the answer that they edit",
        ),
        warnings=(*remarks.short_of(plan), *warnings),
        yaml=yaml,
    )


def _asked(draft: Draft) -> str:
    columns = draft.columns
    if columns.more and columns.text == "instruction":
        # what is to be done stands in each row
        return "{text}"
    wanted, text = (yaml_sections.title(name).lower() for name in (columns.label, columns.text))
    asked = f"Write the {wanted} of this {text}."
    return f"{asked}\n\n{{text}}"


def _copying(found: Sequence[Labeled], *, sentences: int) -> float:
    return fmean(
        rouge.share(baselines.lead(row.text, sentences=sentences), [row.label]).rouge_l
        for row in found[:LOOKED_AT]
    )
