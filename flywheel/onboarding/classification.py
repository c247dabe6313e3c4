"""From labeled rows to a use case: which labels, which holdout, which method, what settings.

Everything is a proposal written into a YAML file for a person to read and change. What the file
held is told by `flywheel.ingestion.tables`, `flywheel.ingestion.column_roles` and
`flywheel.ingestion.labeled_rows`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

import yaml

from flywheel.config import CurationConfig, json_schema
from flywheel.config.method_specs import RECIPES, MethodName
from flywheel.dataset.images import Images
from flywheel.errors import DataError
from flywheel.gate.cold_start import FEWEST_GROUPS, not_judged
from flywheel.ingestion import labeled_rows
from flywheel.ingestion.column_roles import Columns
from flywheel.ingestion.labeled_rows import SOURCE, Labeled
from flywheel.modeling import token_counts
from flywheel.modeling.token_counts import Counting
from flywheel.onboarding import holdout_plan, method_choice
from flywheel.onboarding.holdout_plan import HoldoutPlan
from flywheel.onboarding.method_choice import Method, Speed, Work
from flywheel.text.label_spelling import is_blank

MOST_LABELS = 1_000
FEWEST_PER_LABEL = 5
HOLDOUT_ROWS, HOLDOUT_SHARE, SMALL_HOLDOUT = 600, 0.2, 30
VALIDATION = 0.1
BASE = method_choice.CAUSAL
"""The base that is proposed."""
MOST_TOKENS = 512
"""Of a prompt, as proposed: memory and time grow with it."""
ROOM_TOKENS = 16
"""For a text's neighbours in the prompt, and the tokens that begin and end it."""
SERVED_CHARS = 20_000
"""What the service takes of a text (`serving.max_text_chars`): all of it may be learned from."""
KEPT_EXAMPLES = 20_000


@dataclass(frozen=True)
class Draft:
    """What was found and answered. ``feedback`` are ``rows`` as they go into the inbox.

    ``spellings`` is label → the other spellings that were merged into it. ``everyone`` says that
    nearly every answer gets a reaction. ``method`` None: what the machine has time for.
    ``separator`` and ``encoding`` None: found in the file. ``months_first`` None: its dates do not
    tell.
    """

    name: str
    described: str
    columns: Columns
    rows: Sequence[Labeled]
    feedback: Sequence[Mapping[str, str]]
    spellings: Mapping[str, Sequence[str]] = field(default_factory=dict)
    everyone: bool = True
    method: MethodName | None = None
    separator: str | None = None
    encoding: str | None = None
    months_first: bool | None = None


@dataclass(frozen=True)
class Proposal:
    """A use case for labeled rows. ``counts`` is label → rows, in the order of the labels.

    Where answers are written it is empty. ``reasons`` say what is proposed and why.
    """

    counts: Mapping[str, int]
    plan: HoldoutPlan
    method: Method
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    yaml: str


def without_groups(rows: Sequence[Labeled]) -> list[Labeled]:
    """The rows, each text a group of its own; who they are of stays."""
    return [replace(row, group=None) for row in rows]


def few_groups(rows: Sequence[Labeled]) -> int | None:
    """How many groups there are, where they are too few to draw a holdout from."""
    groups = {row.group for row in rows if row.group}
    return len(groups) if 0 < len(groups) < FEWEST_GROUPS else None


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
    lengths = prompt_tokens(texts, _asked(draft.columns), tokens)
    limit = token_counts.limit(lengths, share=0.99, more=0, step=32, most=MOST_TOKENS)
    epochs = 2 if len(counts) <= 10 else 4
    method = _method(draft, plan, fmean(min(length, limit) for length in lengths), epochs, speed)
    warnings = [*gaps(counts), *rare(counts, plan), *unjudged(draft, plan), *short_of(plan)]
    if method.base is not None:
        warnings += cut_warnings(lengths, limit, tokens)
    return Proposal(
        counts=counts,
        plan=plan,
        method=method,
        reasons=(holdout_reason(draft, plan), _method_reason(method), evidence_reason(draft)),
        warnings=tuple(warnings),
        yaml=f"""\
{head(draft, "text-classification")}

{label_section(draft, counts)}

# What the model reads. Methods of label words (qlora, lora, …) read the label as the next word.
prompt: {quoted(_asked(draft.columns))}

{columns_section(draft)}

{split_section(draft, plan)}

{curation_section(draft, longest)}

training:
{_training(method, plan, epochs, limit, tokens)}

gate:
  min_holdout_examples: {plan.minimum}  # the holdout has {plan.rows} rows
{floors(plan, counts)}
{evidence_setting(draft)}
""",
    )


def planned(
    draft: Draft,
    labels: tuple[str, ...],
    *,
    max_chars: int,
    wanted: int | None = None,
    validation: float = VALIDATION,
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
        salt=salt(draft.name),
        validation=validation,
        wanted=min(wanted or HOLDOUT_ROWS, few),
        images=images,
    )


# ---- What is said of it


def holdout_reason(draft: Draft, plan: HoldoutPlan) -> str:
    """How many rows are held out, drawn by what."""
    by = f"whole groups of {draft.columns.group!r}" if draft.columns.group else "text"
    told = (
        f"holdout: {plan.rows} texts that never train, drawn by {by}; {plan.validation} are for "
        f"validation, {plan.training} train"
    )
    near = plan.dropped.get("contaminated", 0)
    return f"{told}; {near} rows do not, for the holdout has a text almost alike" if near else told


def _method_reason(method: Method) -> str:
    on = f" on {method.base}" if method.base else ""
    return f"method: {method.name}{on}: {method.why}"


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


# ---- Sections of the YAML, shared by all kinds


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


def _training(method: Method, plan: HoldoutPlan, epochs: int, limit: int, tokens: Counting) -> str:
    lines = [f"  method: {method.name}  # {method.why}"]
    if method.base is not None:
        lines.append(f"  base: {method.base}  # an entry of flywheel models, pinned by hash")
    lines.append("  where: inline  # or: pool (deployment train/gpu in work pool gpu)")
    lines.append(f"  min_examples: {least_examples(plan)}  # with fewer a night is skipped")
    if not all(plan.train.values()):
        lines.append("  min_per_class: 0  # some labels have no row to train on yet")
    if RECIPES[method.name].learns:
        lines.append(f"  epochs: {epochs}")
    told = fitting(limit, MOST_TOKENS, "99 %")
    if method.base is None:
        told = f"for methods with a base; {method.name} reads all of a text"
    lines.append(f"  max_length_tokens: {limit}  # {told}; {tokens.how}")
    return "\n".join(lines)


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


# ---- Classification of texts


def _asked(columns: Columns) -> str:
    text, label = title(columns.text), title(columns.label)
    asked = f"{text}: " if not is_blank(text) else ""
    return f"{asked}{{text}}\n{label}:"


def _method(
    draft: Draft, plan: HoldoutPlan, tokens: float, epochs: int, speed: Callable[[], Speed]
) -> Method:
    if draft.method is not None:
        return method_choice.named(draft.method)
    work = Work(plan.training, plan.rows, tokens, epochs)
    return method_choice.propose([row.text for row in draft.rows], work, speed)
