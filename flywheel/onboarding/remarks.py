"""What is said of a proposal: its reasons, and warnings of rows that are few or are cut off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flywheel.gate.cold_start import not_judged
from flywheel.modeling.token_counts import Counting
from flywheel.onboarding import holdout_plan
from flywheel.onboarding.draft import Draft
from flywheel.onboarding.holdout_plan import HoldoutPlan

FEWEST_PER_LABEL = 5
ROOM_TOKENS = 16
"""For a text's neighbours in the prompt, and the tokens that begin and end it."""


def holdout_reason(draft: Draft, plan: HoldoutPlan) -> str:
    """How many rows are held out, drawn by what."""
    by = f"whole groups of {draft.columns.group!r}" if draft.columns.group else "text"
    told = (
        f"holdout: {plan.rows} texts that never train, drawn by {by}; {plan.validation} are for "
        f"validation, {plan.training} train"
    )
    near = plan.dropped.get("contaminated", 0)
    return f"{told}; {near} rows do not, for the holdout has a text almost alike" if near else told


def evidence_reason(draft: Draft) -> str:
    """Whether reactions count as evidence."""
    if draft.everyone:
        return (
            "evidence: reactions to answers, taken to come to nearly every answer; "
            "--reactions some where only complaints come"
        )
    return "evidence: audits only (flywheel queue), for complaints alone mislead the gate"


def gaps(counts: Mapping[str, int]) -> list[str]:
    """Whether -1 may say that there is no label, as it does in many data sets."""
    if "-1" not in counts or set(counts) == {"-1", "1"}:
        return []
    return [
        f"label -1 ({counts['-1']} rows) often says that there is none; where it does here, take "
        "these rows out of the file and run init again with --force"
    ]


def rare(counts: Mapping[str, int], plan: HoldoutPlan) -> list[str]:
    """Labels with few rows, and with none to train on."""
    warnings = []
    if rare := [label for label, count in counts.items() if count < FEWEST_PER_LABEL]:
        warnings.append(f"fewer than {FEWEST_PER_LABEL} rows: {_named(rare)}")
    if absent := [label for label, count in plan.train.items() if not count]:
        warnings.append(
            f"no row of {_named(absent)} is left to train on; the model cannot answer with "
            "what it never saw: label more"
        )
    return warnings


def unjudged(draft: Draft, plan: HoldoutPlan) -> list[str]:
    """Labels that have too few holdout rows to be judged by themselves."""
    how = f"flywheel ingest -u {draft.name} FILE"
    said = not_judged(plan.holdout, tuple(plan.holdout), share=plan.share, how=how)
    return [said] if said else []


def _named(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - 8} more" if len(labels) > 8 else ""
    return ", ".join(labels[:8]) + more


def short_of(plan: HoldoutPlan) -> list[str]:
    """What is missing for a first model, where something is."""
    if plan.is_enough:
        few = plan.rows < 100
        return [f"a holdout of {plan.rows} rows proves little; more labels help"] if few else []
    needed = holdout_plan.LEAST
    total = plan.rows + plan.training + plan.dropped.get("contaminated", 0)
    more = max(
        round(needed / holdout_plan.MOST_SHARE) + 10 - total,
        needed - plan.rows,
        needed - plan.training,
    )
    classes = ", ".join(f"{n} {label}" for label, n in sorted(plan.train.items())[:8] if label)
    return [
        f"too few rows for a first model: the holdout has {plan.rows} and training {plan.training} "
        f"({classes or 'texts'}), each needs {needed}; label about {more} more and run init again "
        "with --force"
    ]


def cut_warnings(lengths: Sequence[int], longest: int, tokens: Counting) -> list[str]:
    """How many texts lose their end at ``longest`` tokens, where some do."""
    over = sum(length > longest for length in lengths)
    if not over:
        return []
    may = "" if tokens.exact else "may "
    return [
        f"{over} of {len(lengths)} texts {may}lose their end: the longest has "
        f"{'' if tokens.exact else 'about '}{max(lengths)} tokens, and training.max_length_tokens "
        f"is {longest}"
    ]


def prompt_tokens(texts: Sequence[str], prompt: str, tokens: Counting) -> list[int]:
    """Tokens of each text in the prompt."""
    (around,) = tokens.of([prompt.replace("{text}", "")])
    return [count + around + ROOM_TOKENS for count in tokens.of(texts)]
