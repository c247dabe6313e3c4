"""Sections of a use case file that all kinds share, with the reason beside each number."""

from __future__ import annotations

import re
from collections.abc import Mapping

import yaml

from flywheel.config import json_schema
from flywheel.ingestion.labeled_rows import SOURCE
from flywheel.onboarding import holdout_plan
from flywheel.onboarding.draft import Draft
from flywheel.onboarding.holdout_plan import HoldoutPlan

VALIDATION = 0.1
KEPT_EXAMPLES = 20_000


def head(draft: Draft, kind: str) -> str:
    """Name, kind and description."""
    return f"""\
{json_schema.modeline(json_schema.NAME)}
# flywheel night -u {draft.name}
name: {quoted(draft.name)}
kind: {kind}
description: {quoted(draft.described)}"""


def label_section(draft: Draft, counts: Mapping[str, int]) -> str:
    """The labels, each with its rows and the spellings that were merged into it."""
    lines = []
    for label, count in counts.items():
        also = ", ".join(quoted(other) for other in draft.spellings.get(label, ()))
        lines.append(
            f"  {quoted(label)}: {quoted(label)}  # {count} rows{', also ' if also else ''}{also}"
        )
    return "\n".join(
        [
            "# Label: its meaning in one line, for people. The order is that of every probability",
            "# vector: numbers by value, others by how common they are.",
            "labels:",
            *lines,
        ]
    )


def columns_section(draft: Draft) -> str:
    """Which columns held what: `flywheel ingest` reads a later table by them."""
    columns = draft.columns
    text = ", ".join(quoted(name) for name in (columns.text, *columns.more))
    named = {
        "label": columns.label,
        "customer": columns.customer,
        "time": columns.time,
        "rater": columns.rater,
        "group": columns.group,
        "separator": draft.separator,
        "encoding": draft.encoding,
    }
    lines = [f"  {role}: {quoted(name)}" for role, name in named.items() if name]
    if draft.months_first is not None:
        lines.append(f"  months_first: {'true' if draft.months_first else 'false'}  # in dates")
    told = f"# flywheel ingest -u {draft.name} FILE reads a later table by these columns."
    return "\n".join([told, "columns:", f"  text: [{text}]", *lines])


def salt(name: str) -> str:
    """Of the split."""
    return f"{name}-1"


def split_section(draft: Draft, plan: HoldoutPlan, validation: float = VALIDATION) -> str:
    """The split, and what it draws."""
    why = "" if validation else "  # nothing is chosen by it"
    said = f"by_customer: {'true' if draft.columns.group else 'false  # each text is a group'}"
    by_customer = f"\n  {said}" if draft.columns.customer else ""
    return f"""\
split:
  salt: {quoted(salt(draft.name))}  # never change it: it decides which texts are held out
  holdout: {plan.share}  # share of groups; this salt draws {plan.rows} texts
  validation: {validation:g}{why}{by_customer}"""


def curation_section(draft: Draft, max_chars: int) -> str:
    """What may become an example."""
    kept = max(KEPT_EXAMPLES, 2 * len(draft.rows))
    return f"""\
curation:
  gold_sources: [{SOURCE}, audit]  # trusted: the file that this was made from, and audits
  train_on_gold: true  # what is not in the holdout may train
  min_chars: 1  # a single emoji or two characters can be a whole message
  max_chars: {max_chars}  # the longest text here, and all that the service answers
  max_examples: {kept}  # more than there are: nothing that people say is left out"""


def least_examples(plan: HoldoutPlan) -> int:
    """Training examples below which a night is skipped."""
    return min(100, max(holdout_plan.LEAST, round(plan.training * 0.5)))


def floors(plan: HoldoutPlan, counts: Mapping[str, int]) -> str:
    """What a first model must reach: more than naming the commonest label does."""
    there = plan.holdout if plan.rows else counts
    majority = max(there.values()) / sum(there.values())
    accuracy = min(majority + 0.05, majority + 0.2 * (1 - majority))
    return f"""\
  min_accuracy: {accuracy:.3f}  # the commonest label alone: {majority:.3f} of the holdout
  min_macro_f1: {round(0.5 / len(counts) + 0.05, 2)}"""


def evidence_setting(draft: Draft) -> str:
    """Whose fresh labels decide on a challenger."""
    if draft.everyone:
        return (
            "  evidence_sources: [app]  # nearly every answer gets a reaction; where only "
            "complaints come, leave it out"
        )
    return "  evidence_sources: []  # audits alone (flywheel queue): complaints would mislead"


def fitting(longest: int, most: int, share: str) -> str:
    """What a proposed length does, for the comment beside it."""
    if longest < most:
        return f"{share} of the texts have fewer, the others lose their end"
    return "longer texts lose their end, and more tokens take more memory and time"


def quoted(value: str) -> str:
    """The value as YAML holds it on one line."""
    return yaml.safe_dump(value, default_style='"', allow_unicode=True, width=10**9).strip()


def title(column: str) -> str:
    """A column's name as a person would write it."""
    return re.sub(r"[_{}]+", " ", column).strip().capitalize()
