"""Bring a later labeled table with columns of its own into a use case that is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flywheel.config import ColumnsConfig, Home, UseCase
from flywheel.errors import DataError
from flywheel.files import hashing
from flywheel.ingestion import annotation_exports, labeled_rows, predictions, tables
from flywheel.ingestion.column_roles import NONE, find_columns
from flywheel.ingestion.labeled_rows import Labeled
from flywheel.ingestion.readers import SUFFIXES, chunks, rows_of
from flywheel.onboarding.draft import few_groups, without_groups
from flywheel.records import FEEDBACK_KINDS
from flywheel.store import open_store
from flywheel.text import label_spelling
from tasks.collect import drop

_OF_A_MODEL = frozenset({"prediction_id", "model_version", "probabilities"})
"""Columns of `flywheel predict` and of the service: such labels are nobody's."""


@dataclass(frozen=True)
class TableFeedback:
    """What a table says as feedback: its file in the inbox once `put_into_inbox` wrote it.

    ``left_out`` is reason → rows of the table that are not in it; ``notes`` say what was assumed.
    """

    path: Path
    rows: Sequence[Mapping[str, object]] = field(repr=False)
    left_out: Mapping[str, int]
    notes: Sequence[str] = ()


def put_into_inbox(table: TableFeedback) -> None:
    """Let the rows wait for `tasks.ingest`."""
    drop(table.path.parent, table.path.name, table.rows)


def read_feedback(
    use_case: UseCase,
    home: Home,
    file: Path,
    *,
    at: datetime,
    text: Sequence[str],
    label: str | None,
    customer: str | None = None,
    time: str | None = None,
    rater: str | None = None,
    group: str | None = None,
    encoding: str | None = None,
    separator: str | None = None,
    months_first: bool | None = None,
) -> TableFeedback:
    """A table's rows as `flywheel init` puts them into the inbox; nothing is written.

    A role that is None is guessed as there; a row that came before is the same feedback.

    Raises:
        DataError: the use case is about pictures, the file is of no use, or no row is.
    """
    if use_case.is_image:
        raise DataError(
            f"{use_case.name} is about pictures: a table of them comes in as a feedback file. "
            "Nothing was ingested."
        )
    table = annotation_exports.read_table(file, separator=separator, encoding=encoding)
    tables.require_rows(table, file, least=1)
    columns = find_columns(
        table.rows,
        text=list(text),
        label=label,
        group=group,
        customer=customer,
        rater=rater,
        time=time,
        kind=use_case.kind,
        now=at,
    )
    usable = labeled_rows.usable(
        table, columns, now=at, writes=use_case.is_generation, months_first=months_first
    )
    rows = [_named(row, use_case.label_names) for row in usable.rows]
    if group is None and _apart(use_case, home, rows):
        rows = without_groups(rows)
    left_out = {why: len(numbers) for why, numbers in usable.apart.items()}
    if not rows:
        told = "; ".join(f"{count} rows: {why}" for why, count in left_out.items())
        raise DataError(f"{file} has no row that can be used ({told}). Nothing was ingested.")
    written = datetime.fromtimestamp(file.stat().st_mtime, UTC).replace(microsecond=0)
    feedback = labeled_rows.feedback_rows(rows, given_at=min(written, at))
    name = f"table-{hashing.of_file(file)[:12]}.jsonl"
    path = home.inbox(use_case.name) / name
    return TableFeedback(path, feedback, left_out, (*table.notes, *usable.notes))


def remembered(use_case: UseCase, file: Path, named: Mapping[str, Any]) -> ColumnsConfig | None:
    """The columns that `init` found, with those ``named`` in their place; None: it found none.

    Of roles named `NONE` there is no column. An encoding that `init` was told gives way where the
    file's bytes say that it is another: by it each of their letters would become two wrong ones.
    """
    if use_case.columns is None or use_case.is_image:
        return None
    own: dict[str, Any] = {role: None if one == NONE else one for role, one in named.items()}
    if "text" in own:
        own["text"] = list(own["text"])
    if "customer" in own and use_case.columns.group == use_case.columns.customer:
        own.setdefault("group", None)
    if use_case.columns.encoding and tables.is_unicode(file):
        own.setdefault("encoding", None)
    return use_case.columns.model_copy(update=own)


def arguments(columns: ColumnsConfig) -> dict[str, Any]:
    """The columns as `read_feedback` takes them; what `init` found none for is not guessed anew.

    Whether customers are groups the use case says, which may have been edited since.
    """
    named = {role: name or NONE for role, name in columns.model_dump().items()}
    if columns.customer and columns.group in (None, columns.customer):
        named["group"] = None
    told = ("separator", "encoding", "months_first")
    return named | {name: getattr(columns, name) for name in told}


def is_table(file: Path, columns: ColumnsConfig) -> bool:
    """Whether a file is a table, and none of feedback or of a model's answers.

    One without a column of kinds is a table, if perhaps one of other columns.
    """
    if not file.name.lower().endswith(SUFFIXES):
        return True
    if file.name.endswith(predictions.SUFFIX) or _begins_as_feedback(file):
        return False
    found = annotation_exports.read_table(
        file, separator=columns.separator, encoding=columns.encoding
    )
    there = {name for row in found.rows for name in row}
    if there >= _OF_A_MODEL:
        return False
    return "kind" not in there or there.issuperset((*columns.text, columns.label))


def _begins_as_feedback(file: Path) -> bool:
    with file.open("rb") as stream:
        for _, first in (row for chunk in chunks(file.name, stream) for row in rows_of(chunk)):
            return isinstance(first, dict) and first.get("kind") in FEEDBACK_KINDS
    return True


def _named(row: Labeled, names: tuple[str, ...]) -> Labeled:
    """The row with its label as the use case writes it, by which the row is known again."""
    return replace(row, label=label_spelling.match(row.label, names) or row.label)


def _apart(use_case: UseCase, home: Home, rows: Sequence[Labeled]) -> bool:
    """Whether each text is its own group, as it was in the table that `init` read.

    A later table that holds few of the customers must not part them: some are held out. A use case
    made before `split.by_customer` does not say; there few groups, none of them known, are none.
    """
    if "by_customer" in use_case.split.model_fields_set:
        return not use_case.split.by_customer
    if few_groups(rows) is None:
        return False
    with open_store(home.warehouse) as store:
        return not store.splits(use_case.name, {row.group for row in rows if row.group})
