"""What each command's JSON holds; a test runs the commands and compares.

A path is the keys from the top, ``[]`` each entry of a list, ``*`` any key. ``?`` after a path says
that it may be missing. Where a value may be null, its type says so. A path that ends with ``…``
stands for all below it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from docs._generator.markdown import page as whole_page
from docs._generator.markdown import table

_ABOUT = """\
With `--json` a command prints one JSON document to stdout.
What a failure prints is said in [Command line](cli.md).

- `[]` is each entry of a list, `*` is any key, and `?` marks what may be missing.
- Times are ISO 8601 with an offset; a space may stand in place of the `T`.
- Shares and accuracies are in [0, 1].
- `use_case` is a use case's name and `file` a path.
- `version` is the number of a version in MLflow. An answer calls it `model_version`.
- A row is *parked* while the answer that it is about has not arrived.
- It is *quarantined* when it cannot be used, and *waiting* until a night learns from it.
- Keys may be added in any release. The changelog says when one is renamed or removed."""

_REASON = """
{0}rule | text | the rule's name
{0}passed | yes, no or null | null: it cannot be said yet
{0}detail | text | what it saw, for people
{0}on | yes or no | no: switched off, or for information
"""
_STEP = """
{0}rule | text | the curation rule
{0}on | yes or no |
{0}seen | number | rows before it
{0}dropped | number |
{0}changed | number |
{0}detail | text |
"""
_INGESTED = """
{0}read | number | rows in the files
{0}ingested | number |
{0}duplicate | number | the same reaction again
{0}quarantined | number |
{0}parked | number |
"""
_AUDITS = """
{0}audits | number | labels of queues that were drawn at random
{0}undrawn | number | of these, those whose draw is not on record here
{0}chosen | number | labels that the queue picked; they are no audits
"""
_NIGHT = """
use_case | text |
as_of | time | the night
outcome | text | promoted, awaiting_approval, rejected, undecided, skipped or failed
headline | text | the verdict in one sentence
snapshot_id | text |
feedback_read | number |
feedback_quarantined | number |
holdout_examples | number |
train_examples? | number | of a night that trained
examples_there? | number | in its place, where nothing was trained
settings | text | a name for the recipe, gate, prompt and labels
learned_from | text or null | the snapshot of whoever stood before the gate
holdout_worn | yes or no | whether the holdout can show nothing any more
version? | text |
digest? | text | names what decides the version's answers
train_seconds? | number |
peak_memory_mb? | number | of training
holdout_memory_mb? | number or null | of scoring the holdout
tokens_per_second? | number |
trained_examples? | number |
started_from? | text | the base, or a version
parent? | text or null | the digest that training went on from
parent_version? | text or null |
new_examples? | number or null |
replayed_examples? | number or null |
trial_nights? | number or null |
trial_rows_recorded? | number or null |
challenger_accuracy? | number or null | of written answers challenger_rouge_l
champion_accuracy? | number or null |
challenger_macro_f1? | number or null |
champion_macro_f1? | number or null |
baselines.*? | number or null | accuracy of the simple baselines and of the untrained base
""" + _REASON.format("reasons[].")
_LISTED = """
{0}name | text |
{0}family | text |
{0}body | text | causal, encoder, seq2seq or vision
{0}kinds[] | text | the kinds of use case that it serves
{0}methods[] | text |
{0}licence | text |
{0}proven | text | how far it was run
{0}proven_methods[]… | text |
{0}failed_methods… | text |
{0}proven_with… | text | versions of libraries
{0}refused_methods… | text | method to reason
{0}source… | text | package or hub, with version and sha256
{0}parameters | number |
{0}adapter_targets[]… | text |
{0}context_tokens | number or null |
{0}template | text or null |
{0}memory_mb… | number or null | per method: on a GPU, on a CPU, and measured
{0}pitfalls[]… | text |
"""


@dataclass(frozen=True)
class Field:
    """One path of a document."""

    path: str
    kind: str
    meaning: str
    optional: bool
    deep: bool


SHAPES: Mapping[str, tuple[str, str]] = {
    "init": (
        "What was found in the file and what is proposed.",
        """
use_case | text |
file | text | the use case file that was written
kind | text |
text | text | the column of texts, or several
label | text |
customer | text or null |
group | text or null |
time | text or null |
rater | text or null |
may_be_customer.*? | number | columns that may name customers, with their number of values
rows | number | rows that can be used
unusable | number |
apart.*.rows? | number | reason to rows that were left out
apart.*.numbers[]? | number | their numbers in the file
labels.*? | number | label to rows
holdout | number |
validation | number |
train | number |
method | text |
reasons[] | text |
notes[]? | text |
warnings[]? | text |
""",
    ),
    "night": ("The night as it was recorded.", _NIGHT),
    "turn": ("A list of nights, each as that of `night`.", ""),
    "night --dry-run": (
        "What a night would do.",
        """
use_case | text |
as_of | time |
pulled.*? | number | source to new rows
unread | text or null | why a source could not be read
champion | text or null | its version
curated.train | number |
curated.validation | number |
curated.holdout | number |
curated.steps[].example | text or null | a feedback_id
trains[]… | text | methods and bases
asks… | number or null | rows of the holdout that would be asked
why_not | text or null | why nothing would be trained
"""
        + _STEP.format("curated.steps[].")
        + _INGESTED.format("ingested."),
    ),
    "status": (
        "How a use case stands.",
        """
use_case | text |
champion… | text or null | version, digest, snapshot_id, holdout figures, forgotten_in
awaiting_approval[]… | text | versions
exports… | text | what was exported where
promotions[].at? | time |
promotions[].action? | text | promoted, approved, rolled_back, moved_by_hand, ...
promotions[].version? | text |
promotions[].digest? | text |
promotions[].before? | text or null | the champion until then
promotions[].who? | text |
promotions[].why? | text |
nights[].as_of? | time | the last nights, oldest first
nights[].outcome? | text |
nights[].reasons[]…? | text | as those of a night
nights[].train_examples? | number or null |
nights[].train_seconds? | number or null |
nights[].peak_memory_mb? | number or null |
nights[].champion_accuracy? | number or null |
nights[].challenger_accuracy? | number or null |
nights[].baselines…? | number |
live[]… | number | answers and what became of them, a night each, with shares and intervals
feedback.ingested | number | rows, ever
feedback.quarantined | number | rows, ever
feedback.parked | number | rows, now
feedback.waiting | number | rows, now
queue_labels.line | text |
quarantine.*? | number | reason to rows
backlog[]… | text | customers whose rows wait for later nights
inbox.files | number |
inbox.rows | number |
inbox.being_written | number | files
inbox.unread.*? | text | file in the inbox to why no night reads it
running[]? | text | nights that run, and who waits for whom
"""
        + _AUDITS.format("queue_labels."),
    ),
    "list": (
        "The use cases of a folder and a home.",
        """
folder | text |
folder_exists | yes or no |
home | text |
home_exists | yes or no |
use_cases[].use_case? | text |
use_cases[].file? | text |
use_cases[].kind? | text or null |
use_cases[].error? | text or null | why the file cannot be used
use_cases[].champion? | text or null |
use_cases[].last_night.as_of? | time |
use_cases[].last_night.outcome? | text |
use_cases[].last_night? | null |
without_file[]? | text | names that only the home knows
""",
    ),
    "doctor": (
        "What was looked at. Exit code 1 where anything is not ok.",
        """
[].name | text |
[].ok | yes or no |
[].detail | text | what is so, and what to do
""",
    ),
    "ingest": (
        "What became of the rows.",
        _INGESTED.format("") + _AUDITS.format("queue_labels."),
    ),
    "pull": ("Source to new rows.", "*? | number |\n"),
    "quarantine": (
        "Rows that cannot be used, the commonest reason first.",
        """
[].reason? | text |
[].rows? | number |
[].examples[].file? | text |
[].examples[].row? | number |
""",
    ),
    "quarantine --retry": (
        "What became of them.",
        """
ingested | number |
parked | number |
duplicate | number |
kept | number | still in quarantine
""",
    ),
    "queue": (
        "What to label, audits first.",
        """
[].item_id? | text | the text's id
[].text? | text |
[].reason? | text | audit, disagreement, suspect, uncertain or new
[].score? | number | how much a label is worth, within its reason
[].probability? | number or null | of an audit's draw
[].answered? | text or null | the newest answer
[].group_id? | text |
""",
    ),
    "queue --import": (
        "What became of the labels.",
        """
imported | number |
audits | number |
chosen.*? | number | reason to labels that are no audits
unlabeled | number | rows without a label
""",
    ),
    "predict": (
        "A list of answers, in the order of the texts.",
        """
[].prediction_id? | text |
[].label? | text |
[].probabilities.*? | number | label to probability
[].model_version? | text |
[].digest? | text |
""",
    ),
    "predict --to": (
        "How many answers are in the file.",
        """
rows | number |
asked | number | those for which a model was asked
version | text |
to | text | the file
""",
    ),
    "lineage VERSION": (
        "Where a version's labels came from.",
        """
use_case | text |
version | text |
night.as_of | time |
night.outcome | text |
digest | text |
snapshot_id | text |
rewritten | text or null | the snapshot after a customer was forgotten
example_counts.* | number | split to examples
feedback_count | number |
people.raters | number |
people.customers | number |
sources.* | number | source to rows
left_out.*? | number | reason to rows
examples[]… | text | each with its feedback
ancestors_known | yes or no |
ancestors[]… | text | of a version that went on from another
learned_count | number |
learned_by_ancestors_only | number |
"""
        + _STEP.format("rules[]."),
    ),
    "approve": (
        "What was decided. Exit code 1 where it was refused.",
        """
use_case | text |
version | text |
decision | text | approved or rejected
by | text |
result | text or null | null while a night is running
champion | text or null |
""",
    ),
    "rollback": (
        "What a rollback would do, or did.",
        """
use_case | text |
champion | text | the version until then
target | text | the version that is to be champion
refused.*? | text | version to the reason why it was passed over
holdout… | number or null | both versions' figures
done | yes or no |
promotion… | text or null | as one of `status`
""",
    ),
    "forget": (
        "What would be deleted, changed and kept; nothing is done without --yes.",
        """
use_cases[] | text |
rows… | number | use case to table to rows
quotes… | number | others' rows that quote them
alike… | text | others' texts that are almost theirs
files[]… | text | files with rows of theirs
snapshots[]… | text | with examples that go
versions[]… | text | that learned from them
artifacts[]… | text |
pages[]… | text |
traces[]… | text |
named_in[]… | text | places where their name would stay
naming | text or null |
kept… | number | what stays, and why
quote_ids…  | text |
other_case | number | ids that differ from theirs by case alone
waiting_quotes | number |
""",
    ),
    "forget --yes": (
        "The certificate, and where it lies. Exit code 1 where it is not complete.",
        """
certificate_id | text |
person_hash | text | a keyed hash; the name is not kept
requested_at | time |
finished_at | time |
use_cases[] | text |
complete | yes or no |
rows_deleted… | number |
evidence_made_anonymous… | number |
of_these_quotes_by_others… | number |
kept_with_words_of_theirs… | number |
near_duplicates_by_others_kept… | number |
files[]… | text |
snapshots[]… | text |
holdout_changed | yes or no |
artifacts_deleted[]… | text |
reports_rewritten[]… | text |
traces_deleted[]… | text |
versions_marked[]… | text |
retrain_requested[]… | text |
warehouse.sha256_before | text |
warehouse.sha256_after | text |
searched_afterwards… | text | how many files, tables, texts and ids, how, and what was found
not_undone[] | text | what a forgetting cannot reach
path | text | the certificate's page
""",
    ),
    "config check": (
        "What in the file nothing has. Exit code 1 where there is anything.",
        """
file | text |
faults[]… | text | where, what was found, and what it was meant to be
""",
    ),
    "config show": (
        "The settings in effect, and which of them are defaults.",
        """
settings… | any | as in the file ([Settings](settings.md))
defaults[] | text | the paths of settings that the file does not name
""",
    ),
    "models": ("The catalog of base models.", _LISTED.format("[].")),
    "models NAME": ("One of them.", _LISTED.format("")),
    "export": (
        "What was written, and how it answers.",
        "… | any |\n",
    ),
    "backup": (
        "The file that was written.",
        """
file | text |
sha256 | text |
bytes | number |
files | number |
registry | yes or no | whether MLflow's database is in it
made_at | time |
home | text |
mode | text | the file's permissions
""",
    ),
    "restore": (
        "What the home is now.",
        """
home | text |
files | number |
made_at | time |
from_home | text | where the backup was made
put_aside | text or null | where the home of before lies
""",
    ),
    "prune": (
        "What nothing needs any more; nothing is done without --yes.",
        """
done | yes or no |
keep_days | number |
bytes | number |
kinds.*.count | number |
kinds.*.bytes | number |
paths[].kind? | text |
paths[].path? | text | relative to the home
paths[].bytes? | number |
""",
    ),
    "ps": (
        "Which nights run, and who waits for whom.",
        """
nights[]… | text |
waits[]… | text | the first first
""",
    ),
    "remove": (
        "What would go, or went.",
        """
use_case | text |
file | text or null |
rows.*? | number | table to rows
inbox | number | files
schedule | text or null |
kept[]? | text |
done | yes or no |
""",
    ),
    "schedule": (
        "The schedule as the server has it; `schedules` is a list of these.",
        """
use_case | text |
deployment | text |
cron | text or null |
zone | text or null |
next_run | time or null | null: no night comes by itself
watched | number or null | every how many minutes is looked whether a night should start early
""",
    ),
    "unschedule": ("Until when it was scheduled.", "use_case | text |\nwas… | text or null |\n"),
    "serve": ("Where it answers.", "url | text |\n"),
    "config schema": ("The JSON Schema, or where it was written.", "… | any |\n"),
    "bench": ("The cells of the grid ([Build or buy](../guides/build-or-buy.md)).", "… | any |\n"),
    "vendor": ("Plans, or with --yes the comparison.", "… | any |\n"),
    "replay": ("Each policy's figures ([Replay](../guides/replay.md)).", "… | any |\n"),
}


def fields(command: str) -> Iterator[Field]:
    """The paths of a command's document."""
    for line in SHAPES[command][1].splitlines():
        if line.strip():
            path, kind, meaning = (part.strip() for part in line.split("|", 2))
            bare = path.replace("?", "").replace("…", "")
            yield Field(bare, kind, meaning, optional="?" in path, deep="…" in path)


def page() -> str:
    """The page of the JSON documents."""
    return whole_page("JSON of the commands", _ABOUT, *(_section(name) for name in SHAPES))


def _section(command: str) -> str:
    said, rows = SHAPES[command][0], list(fields(command))
    listed = table(
        ("Key", "Value", "What it is"),
        ([f"`{_shown(one)}`", one.kind, one.meaning] for one in rows),
    )
    return "\n\n".join([f"## `{command}`", said, *([listed] if rows else [])])


def _shown(one: Field) -> str:
    return f"{one.path}{'…' if one.deep else ''}{'?' if one.optional else ''}"
