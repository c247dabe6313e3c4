"""From labeled rows to a use case: which labels, which holdout, which method, what settings.

Everything is a proposal written into a YAML file for a person to read and change. What the file
held is told by `flywheel.ingestion.tables`, `flywheel.ingestion.column_roles` and
`flywheel.ingestion.labeled_rows`.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

from flywheel.config import CurationConfig
from flywheel.config.method_specs import RECIPES
from flywheel.dataset.images import Images
from flywheel.errors import DataError
from flywheel.gate.cold_start import FEWEST_GROUPS
from flywheel.ingestion import labeled_rows
from flywheel.ingestion.column_roles import Columns
from flywheel.ingestion.labeled_rows import SOURCE
from flywheel.modeling import token_counts
from flywheel.modeling.token_counts import Counting
from flywheel.onboarding import holdout_plan, method_choice, remarks, yaml_sections
from flywheel.onboarding.draft import Draft, Proposal
from flywheel.onboarding.holdout_plan import HoldoutPlan
from flywheel.onboarding.method_choice import Method, Speed, Work
from flywheel.text.label_spelling import is_blank

MOST_LABELS = 1_000
HOLDOUT_ROWS, HOLDOUT_SHARE, SMALL_HOLDOUT = 600, 0.2, 30
BASE = method_choice.CAUSAL
"""The base that is proposed."""
MOST_TOKENS = 512
"""Of a prompt, as proposed: memory and time grow with it."""
SERVED_CHARS = 20_000
"""What the service takes of a text (`serving.max_text_chars`): all of it may be learned from."""


def counted(draft: Draft) -> dict[str, int]:
    """Label → rows, in the order of the labels.

    Raises:
        DataError: one label, or so many that they look like free text.
    """
    counts = labeled_rows.counts_of(draft.rows)
    column = draft.columns.label
    if len(counts) < 2:
        raise DataError(
            f"Column {column!r} holds {len(counts)} different labels; a use case has 2 at least. "
            "--label names another column. Nothing was written."
        )
    if len(counts) > min(MOST_LABELS, len(draft.rows) / 2) and len(counts) > FEWEST_GROUPS:
        raise DataError(
            f"Column {column!r} holds {len(counts)} different labels in {len(draft.rows)} rows; a "
            f"use case has {MOST_LABELS} at most, and two rows of each on average. Merge the rare "
            "ones, or give more rows of each. If it is the wrong column, --label names another; "
            "where it holds texts that are to be written, --kind text-generation is meant. "
            "Nothing was written."
        )
    return counts


def propose(
    draft: Draft,
    *,
    tokens: Counting | None = None,
    speed: Callable[[], Speed] = method_choice.measured,
) -> Proposal:
    """A use case with settings that suit the rows' number, labels and lengths, and the machine.

    Args:
        draft: What was found and answered.
        tokens: Counts them as the base does; without it they are bounded by their bytes.
        speed: Says what this machine multiplies a second; called where that decides something.

    Raises:
        DataError: as `counted`.
    """
    counts = counted(draft)
    tokens = tokens or Counting(token_counts.bounds, exact=False)
    longest = max(SERVED_CHARS, *(len(row.text) for row in draft.rows))
    plan = planned(draft, tuple(counts), max_chars=longest)
    texts = [row.text for row in draft.rows]
    lengths = remarks.prompt_tokens(texts, _asked(draft.columns), tokens)
    limit = token_counts.limit(lengths, share=0.99, more=0, step=32, most=MOST_TOKENS)
    epochs = 2 if len(counts) <= 10 else 4
    method = _method(draft, plan, fmean(min(length, limit) for length in lengths), epochs, speed)
    warnings = [
        *remarks.gaps(counts),
        *remarks.rare(counts, plan),
        *remarks.unjudged(draft, plan),
        *remarks.short_of(plan),
    ]
    if method.base is not None:
        warnings += remarks.cut_warnings(lengths, limit, tokens)
    return Proposal(
        counts=counts,
        plan=plan,
        method=method,
        reasons=(
            remarks.holdout_reason(draft, plan),
            _method_reason(method),
            remarks.evidence_reason(draft),
        ),
        warnings=tuple(warnings),
        yaml=f"""\
{yaml_sections.head(draft, "text-classification")}

{yaml_sections.label_section(draft, counts)}

# What the model reads. Methods of label words (qlora, lora, …) read the label as the next word.
prompt: {yaml_sections.quoted(_asked(draft.columns))}

{yaml_sections.columns_section(draft)}

{yaml_sections.split_section(draft, plan)}

{yaml_sections.curation_section(draft, longest)}

training:
{_training(method, plan, epochs, limit, tokens)}

gate:
  min_holdout_examples: {plan.minimum}  # the holdout has {plan.rows} rows
{yaml_sections.floors(plan, counts)}
{yaml_sections.evidence_setting(draft)}
""",
    )


def planned(
    draft: Draft,
    labels: tuple[str, ...],
    *,
    max_chars: int,
    wanted: int | None = None,
    validation: float = yaml_sections.VALIDATION,
    images: Images | None = None,
) -> HoldoutPlan:
    """What the split and the rules that are proposed make of the rows."""
    few = max(round(HOLDOUT_SHARE * len(draft.rows)), SMALL_HOLDOUT)
    rules = CurationConfig(
        gold_sources=[SOURCE], train_on_gold=True, min_chars=1, max_chars=max_chars
    )
    return holdout_plan.plan(
        labeled_rows.reactions(draft.feedback),
        labels=labels,
        rules=rules,
        salt=yaml_sections.salt(draft.name),
        validation=validation,
        wanted=min(wanted or HOLDOUT_ROWS, few),
        images=images,
    )


def _asked(columns: Columns) -> str:
    text, label = yaml_sections.title(columns.text), yaml_sections.title(columns.label)
    asked = f"{text}: " if not is_blank(text) else ""
    return f"{asked}{{text}}\n{label}:"


def _method(
    draft: Draft, plan: HoldoutPlan, tokens: float, epochs: int, speed: Callable[[], Speed]
) -> Method:
    if draft.method is not None:
        return method_choice.named(draft.method)
    work = Work(plan.training, plan.rows, tokens, epochs)
    return method_choice.propose([row.text for row in draft.rows], work, speed)


def _method_reason(method: Method) -> str:
    on = f" on {method.base}" if method.base else ""
    return f"method: {method.name}{on}: {method.why}"


def _training(method: Method, plan: HoldoutPlan, epochs: int, limit: int, tokens: Counting) -> str:
    lines = [f"  method: {method.name}  # {method.why}"]
    if method.base is not None:
        lines.append(f"  base: {method.base}  # an entry of flywheel models, pinned by hash")
    lines.append("  where: inline  # or: pool (deployment train/gpu in work pool gpu)")
    lines.append(
        f"  min_examples: {yaml_sections.least_examples(plan)}  # with fewer a night is skipped"
    )
    if not all(plan.train.values()):
        lines.append("  min_per_class: 0  # some labels have no row to train on yet")
    if RECIPES[method.name].learns:
        lines.append(f"  epochs: {epochs}")
    told = yaml_sections.fitting(limit, MOST_TOKENS, "99 %")
    if method.base is None:
        told = f"for methods with a base; {method.name} reads all of a text"
    lines.append(f"  max_length_tokens: {limit}  # {told}; {tokens.how}")
    return "\n".join(lines)
