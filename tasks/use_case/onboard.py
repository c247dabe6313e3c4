"""Start a use case from a labeled file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flywheel.config import NAME_PATTERN, Home, json_schema, load_use_case
from flywheel.config.method_specs import MethodName
from flywheel.config.task_types import Kind
from flywheel.dataset.images import Images
from flywheel.errors import ConfigError, DataError
from flywheel.ingestion import annotation_exports, labeled_rows, tables
from flywheel.ingestion.column_contents import Row
from flywheel.ingestion.column_roles import NONE, Columns, customer_columns, find_columns
from flywheel.ingestion.labeled_rows import Labeled, Usable
from flywheel.modeling import token_counts
from flywheel.onboarding import classification, generation, image_folder
from flywheel.onboarding.draft import Draft, Proposal, few_groups, without_groups
from flywheel.text import label_spelling
from tasks.collect import drop, write

SHOWN = 5
"""Row numbers, and pictures that cannot be used, that are named; the others are counted."""


@dataclass(frozen=True)
class Question:
    """What only a person knows. ``default`` stands where nobody is asked."""

    flag: str
    text: str
    default: str
    choices: tuple[str, ...] = ()


Ask = Callable[[Question], str]


@dataclass(frozen=True)
class Answers:
    """What a person said beforehand, by flags; None: to be found, or asked."""

    text: Sequence[str] = ()
    label: str | None = None
    group: str | None = None
    customer: str | None = None
    rater: str | None = None
    time: str | None = None
    kind: Kind | None = None
    merge: bool | None = None
    everyone: bool | None = None
    method: MethodName | None = None
    separator: str | None = None
    encoding: str | None = None


def onboard(
    name: str,
    data: Path,
    home: Home,
    *,
    answers: Answers | None = None,
    describe: str = "",
    force: bool = False,
    folder: Path | None = None,
    ask: Ask | None = None,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Write ``usecases/NAME.yaml`` and drop the file's rows into the inbox; returns what was done.

    Doing it twice with ``force`` brings no row twice. Unless ``answers`` name a kind, a file that
    names pictures beside it is about pictures, and any other is about labels of texts.

    Raises:
        ConfigError: the name cannot be one, or the use case is there and ``force`` is not given.
        DataError: the file is of no use as it is; nothing was written.
    """
    path = (folder or Path("usecases")) / f"{name}.yaml"
    _require_free(name, path, force=force)
    now, answers = now or datetime.now(UTC), answers or Answers()
    found = _found(data, home, answers, now, ask)
    given_at = datetime.fromtimestamp(data.stat().st_mtime, UTC).replace(microsecond=0)
    draft = Draft(
        name=name,
        described=describe or _described(found.columns, found.kind, data),
        columns=found.columns,
        rows=found.rows,
        feedback=labeled_rows.feedback_rows(found.rows, given_at=min(given_at, now)),
        spellings=found.spellings,
        everyone=_everyone(answers, found.kind, ask),
        method=answers.method,
        separator=answers.separator,
        encoding=answers.encoding,
        months_first=found.months_first,
    )
    proposal = _proposed(draft, found.kind, home)
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path.with_name(json_schema.NAME), json_schema.text())
    write(path, proposal.yaml)
    load_use_case(str(path))
    drop(home.inbox(name), "init.jsonl", draft.feedback)
    return {
        "use_case": name,
        "file": str(path),
        "kind": found.kind,
        **_named(found.columns),
        "may_be_customer": dict(found.may_be_customer),
        "rows": len(draft.feedback),
        "unusable": sum(one["rows"] for one in found.apart.values()),
        "apart": found.apart,
        "labels": dict(proposal.counts),
        "holdout": proposal.plan.rows,
        "validation": proposal.plan.validation,
        "train": proposal.plan.training,
        "method": proposal.method.name,
        "reasons": list(proposal.reasons),
        "notes": list(found.notes),
        "warnings": [*proposal.warnings, *found.faults[:SHOWN]],
    }


def _require_free(name: str, path: Path, *, force: bool) -> None:
    if not re.fullmatch(NAME_PATTERN, name):
        raise ConfigError(f"{name!r} cannot be a name: small letters, digits and hyphens only.")
    if path.exists() and not force:
        raise ConfigError(f"{path} is there already; --force overwrites it. Nothing was written.")


@dataclass(frozen=True)
class _Found:
    """What a file held. ``apart`` says how many rows were left out for which reason.

    ``may_be_customer`` is column → values, where no column was found to say whose a row is.
    """

    kind: Kind
    columns: Columns
    rows: Sequence[Labeled]
    spellings: Mapping[str, Sequence[str]]
    apart: Mapping[str, Any]
    notes: Sequence[str]
    faults: Sequence[str]
    months_first: bool | None
    may_be_customer: Mapping[str, int]


def _found(data: Path, home: Home, answers: Answers, now: datetime, ask: Ask | None) -> _Found:
    table = annotation_exports.read_table(
        data, separator=answers.separator, encoding=answers.encoding
    )
    tables.require_rows(table, data)
    pictures = _picture_column(table.rows, data.parent, answers)
    kind = answers.kind or ("image-classification" if pictures else "text-classification")
    columns = _columns(table.rows, answers, kind, now, pictures=pictures, ask=ask)
    usable = labeled_rows.usable(table, columns, now=now, writes=kind == "text-generation")
    if not usable.rows:
        raise _of_no_use(data, columns, usable)
    rows, faults = list(usable.rows), list[str]()
    notes = [*table.notes, *usable.notes]
    if kind == "image-classification":
        rows, faults = image_folder.kept(rows, columns.text, Images(home.images), data.parent)
    spellings: Mapping[str, Sequence[str]] = {}
    if kind != "text-generation":
        rows, spellings, said = _merged(rows, answers, ask)
        notes += [*said, *_said_of_gaps(rows), *_said_of_repeats(rows)]
    if answers.group is None and (groups := few_groups(rows)) is not None:
        notes.append(
            f"{columns.group!r} has {groups} values, too few to draw a holdout from; every text is "
            "its own group (--group says otherwise)"
        )
        rows, columns = without_groups(rows), replace(columns, group=None)
    apart = _apart(usable, faults)
    may_be: Mapping[str, int] = {}
    if columns.customer is None and answers.customer is None:
        may_be = customer_columns(table.rows, columns, now=now)
    told = (notes, faults, usable.months_first, may_be)
    return _Found(kind, columns, rows, spellings, apart, *told)


def _of_no_use(data: Path, columns: Columns, found: Usable) -> DataError:
    told = "; ".join(f"{len(numbers)} rows: {why}" for why, numbers in found.apart.items())
    return DataError(
        f"{data} has no row that can be used, with the text from {columns.text!r} and the label "
        f"from {columns.label!r} ({told}). --text and --label name other columns. Nothing was "
        "written.",
        path=str(data),
    )


def _proposed(draft: Draft, kind: Kind, home: Home) -> Proposal:
    if kind == "image-classification":
        return image_folder.propose(draft, Images(home.images))
    tokens = token_counts.counting(home.models / classification.BASE)
    if kind == "text-generation":
        return generation.propose(draft, tokens=tokens)
    return classification.propose(draft, tokens=tokens)


def _described(columns: Columns, kind: Kind, data: Path) -> str:
    thing = "picture" if kind == "image-classification" else "text"
    return f"{columns.label} of a {thing}, from {data.name}"


def _named(columns: Columns) -> dict[str, Any]:
    return {
        "text": " + ".join((columns.text, *columns.more)),
        "label": columns.label,
        "group": columns.group,
        "customer": columns.customer,
        "rater": columns.rater,
        "time": columns.time,
    }


def _apart(found: Usable, faults: Sequence[str]) -> dict[str, Any]:
    """Reason → how many rows, and the numbers of the first."""
    apart = {
        why: {"rows": len(numbers), "first": list(numbers[:SHOWN])}
        for why, numbers in found.apart.items()
    }
    if faults:
        apart["a picture that cannot be used"] = {"rows": len(faults), "first": []}
    return apart


# ---- What is asked


def _columns(
    rows: Sequence[Row],
    answers: Answers,
    kind: Kind,
    now: datetime,
    *,
    pictures: str | None,
    ask: Ask | None,
) -> Columns:
    """The columns found; each that no flag names is asked for, where somebody can be asked."""
    named: dict[str, Any] = {
        "text": list(answers.text) or ([pictures] if pictures else None),
        "label": answers.label,
        "customer": answers.customer,
        "time": answers.time,
        "rater": answers.rater,
        "group": answers.group,
    }
    found = find_columns(rows, **named, kind=kind, now=now)
    if ask is None:
        return found
    there = tuple(dict.fromkeys(name for row in rows for name in row))
    for role, text in _ROLES.items():
        if named[role] is None:
            default = getattr(found, role) or NONE
            may_be_none = role not in ("text", "label")
            choices = (*there, *((NONE,) if may_be_none else ()))
            said = ask(Question(f"--{role}", text, default, choices))
            if role == "text" and said == found.text:
                named[role] = [found.text, *found.more]
            else:
                named[role] = [said] if role == "text" else said
            found = find_columns(rows, **named, kind=kind, now=now)
    return found


_ROLES = {
    "text": "Which column holds the text?",
    "label": "Which column holds the label, or what is to be written?",
    "customer": "Which column says which customer a row is of? (- for none)",
    "time": "Which column says when? (- for none)",
    "rater": "Which column says who labeled it? (- for none)",
    "group": "Which column says which rows belong on one side of the split? (- for none)",
}


def _said_of_gaps(rows: list[Labeled]) -> list[str]:
    """Labels that may stand for a missing one: a person knows whether they are classes."""
    counts = labeled_rows.counts_of(rows)
    gaps = [label for label in counts if label_spelling.is_placeholder(label)]
    if not gaps:
        return []
    told = ", ".join(f"{label} {counts[label]}" for label in gaps)
    return [f"taken for labels: {told}; where they mean that there is none, leave these rows out"]


def _merged(
    rows: list[Labeled], answers: Answers, ask: Ask | None
) -> tuple[list[Labeled], Mapping[str, Sequence[str]], list[str]]:
    """Labels that differ in case, blanks or Unicode form only are one, unless a person says no."""
    counts = labeled_rows.counts_of(rows)
    same = label_spelling.alike(counts)
    if not same:
        return rows, {}, []
    told = "; ".join(", ".join(f"{label} {counts[label]}" for label in group) for group in same)
    merge = answers.merge
    if merge is None:
        question = Question("--merge-labels", f"{told}: the same?", "yes", ("yes", "no"))
        merge = (ask(question) if ask else question.default) == "yes"
    if not merge:
        return rows, {}, [f"labels that are nearly alike stay apart: {told}"]
    note = f"labels that differ in case or spaces only were merged: {told} (--keep-labels: not)"
    return (
        labeled_rows.merged(rows, same),
        {group[0]: group[1:] for group in same},
        [note],
    )


def _said_of_repeats(rows: Sequence[Labeled]) -> list[str]:
    texts, tied = labeled_rows.repeated(rows)
    if not texts:
        return []
    told = f"{texts} texts stand in several rows; the label of most of them counts"
    return [f"{told}, and {tied} without one are left out as disagreement" if tied else told]


def _everyone(answers: Answers, kind: Kind, ask: Ask | None) -> bool:
    if answers.everyone is not None or kind == "text-generation":
        return answers.everyone is not False
    question = Question(
        "--reactions",
        "Does nearly every answer get a reaction (all), or do only some, as complaints do (some)?",
        "all",
        ("all", "some"),
    )
    return (ask(question) if ask else question.default) == "all"


def _picture_column(rows: Sequence[Row], beside: Path, answers: Answers) -> str | None:
    """The column that names pictures; None where inputs are texts."""
    if answers.kind not in (None, "image-classification"):
        return None
    if answers.text:
        return answers.text[0] if answers.kind else None
    if not all(isinstance(row, dict) for row in rows):
        return None
    found = image_folder.picture_column(rows, beside)
    if answers.kind and found is None:
        raise DataError(
            f"No column names JPEG, PNG or WebP files under {beside}; --text says which one does. "
            "Nothing was written."
        )
    return found
