"""The command ``flywheel ingest``: feedback files, and tables with columns of their own."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from flows.cli.options import columns_options, json_option, use_case_option
from flows.cli.output import echo
from flywheel.config import Home, UseCase, load_use_case
from flywheel.errors import DataError

if TYPE_CHECKING:
    from flywheel.store.feedback.audits import QueueLabels
    from tasks.use_case.labeled_table import TableFeedback

_NO_KIND = "kind is missing or empty"
_SHOWN_REASONS = 8
_HEAD_BYTES = 4096
_NEEDED = frozenset({"text", "label"})
"""Without what `flywheel init` remembered these must be named, and with them it does not count."""


@click.command()
@use_case_option
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@columns_options
@json_option
def ingest(
    use_case: str,
    files: tuple[Path, ...],
    text: tuple[str, ...],
    label: str | None,
    as_json: bool,
    **roles: str | None,
) -> None:
    """Bring the inbox, or the files named, into the warehouse.

    FILES are feedback files, or tables with columns of their own, as flywheel init reads them: an
    export that came later. Columns that flywheel init found stand in the use case, as its columns:;
    each option names another in place of one. With both --text and --label nothing of them counts.
    Exit code 1 where rows were read and none was taken.

    \b
    Example: flywheel ingest -u product-reviews feedback.jsonl
             flywheel ingest -u support tickets-may.csv
             flywheel ingest -u support --encoding cp1250 tickets-june.csv
             flywheel ingest -u support --text body --label topic tickets-july.csv
    """
    from flywheel.store.feedback import audits
    from tasks.ingest import ingest_inbox
    from tasks.use_case.labeled_table import put_into_inbox

    case, home, at = load_use_case(use_case), Home(), datetime.now(UTC)
    named = {role: name for role, name in {"text": text, "label": label, **roles}.items() if name}
    _require_a_table(case, files, named)
    # all are read before one is written: of a bad one nothing must have been ingested
    _refuse_queues(case.name, files)
    tables = [_as_table(case, home, file, named, at) for file in files]
    for table in filter(None, tables):
        put_into_inbox(table)
    taken = [table.path if table else file for file, table in zip(files, tables, strict=True)]
    before, labeled_before = _told(case.name, home)
    counts = ingest_inbox(case, home, at=at, files=taken)
    reasons, labeled = _told(case.name, home)
    reasons.subtract(before)
    new = labeled.since(labeled_before)
    done = asdict(counts)
    shown = ", ".join(f"{value} {name}" for name, value in done.items()) + " rows"
    echo(json.dumps(done | {"queue_labels": asdict(new)}) if as_json else shown)
    _say_reasons("quarantined", +reasons)
    if told := audits.line(new):
        echo(told, err=True)
    if not counts.read and files:
        _say_nothing_read(taken, files)
    elif counts.read and counts.quarantined == counts.read:
        echo(_none_taken(case.name, reasons), err=True)
        sys.exit(1)


def _require_a_table(case: UseCase, files: tuple[Path, ...], named: Mapping[str, Any]) -> None:
    """Refuse columns that no file is read by.

    Raises:
        UsageError: there are none for a table without both --text and --label, or no files.
    """
    if not named:
        return
    if not files:
        raise click.UsageError("Columns, --separator and --encoding are for tables: name FILES.")
    if case.columns is None and not named.keys() >= _NEEDED:
        raise click.UsageError(
            f"A labeled table needs FILES, --text and --label, all three: {case.name} has no "
            "columns: of a table that flywheel init read."
        )


def _as_table(
    case: UseCase, home: Home, file: Path, named: Mapping[str, Any], at: datetime
) -> TableFeedback | None:
    """What the table ``file`` says; None where it is a feedback file.

    What is ``named`` stands in place of what the use case remembers.
    """
    from tasks.use_case.labeled_table import arguments, is_table, read_feedback, remembered

    if not named.keys() >= _NEEDED:
        columns = remembered(case, file, named)
        if columns is None:
            return None
        if not is_table(file, columns):
            if named:
                raise DataError(
                    f"{file} is a file of feedback or of a model's answers; columns, --separator "
                    "and --encoding are for labeled tables. Nothing was ingested.",
                    path=str(file),
                )
            return None
        told = f"{file}: a labeled table, read by the columns of the use case {case.name}"
        echo(f"{told} ({columns.in_words()}); --text and --label name others", err=True)
        named = arguments(columns)
    table = read_feedback(case, home, file, at=at, **named)
    for note in table.notes:
        echo(f"{file}: note: {note}", err=True)
    _say_reasons(f"{file}: left out", table.left_out)
    return table


def _refuse_queues(use_case: str, files: Sequence[Path]) -> None:
    """Refuse queues that came back: here their audits would not be known as such.

    Raises:
        DataError: a file is one.
    """
    from flywheel.ingestion.labeling_queue import is_queue

    for file in files:
        with file.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
        if is_queue(head):
            raise DataError(
                f"{file} is a queue that flywheel queue wrote: ingested like this, none of its "
                f"rows would be an audit. Bring it back by flywheel queue -u {use_case} --import "
                f"{file}. Nothing was ingested.",
                path=str(file),
            )


def _told(use_case: str, home: Home) -> tuple[Counter[str], QueueLabels]:
    """Why rows are in quarantine, and what came back from queues."""
    from flywheel.store import open_store
    from flywheel.store.feedback import audits

    if not home.warehouse.exists():
        return Counter(), audits.NO_LABELS
    with open_store(home.warehouse) as store:
        reasons = Counter(store.quarantine_reasons(use_case))
        return reasons, audits.queue_labels(store, use_case)


def _say_reasons(what: str, reasons: Mapping[str, int]) -> None:
    for reason, count in Counter(reasons).most_common(_SHOWN_REASONS):
        echo(f"{what}: {count} rows: {reason}", err=True)


def _none_taken(use_case: str, reasons: Mapping[str, int]) -> str:
    if not reasons.get(_NO_KIND):
        return "flywheel: not one row was taken; the reasons are above."
    return (
        "flywheel: not one row was taken: this is not a feedback file. Needed columns: kind, "
        "rater_id, source, given_at, and text or prediction_id; for kind label also value. A "
        "labeled table with columns of its own comes in by flywheel ingest -u "
        f"{use_case} --text COLUMN --label COLUMN FILE."
    )


def _say_nothing_read(taken: list[Path], files: tuple[Path, ...]) -> None:
    """Say of each file whether it is empty or known; an empty one is exit code 1."""
    from flywheel.ingestion.inbox import rows_and_blank_lines

    empty = 0
    for one, file in zip(taken, files, strict=True):
        # what came into the inbox from a table lies in done/ by now, and was not empty
        rows, blank = rows_and_blank_lines(file) if one == file else (1, 0)
        why = "was ingested before" if rows else "holds no row"
        if not rows and blank:
            why += f", only blank lines ({blank:,})"
        empty += not rows
        echo(f"{file} {why}; nothing was taken from it.", err=True)
    if empty == len(files):
        sys.exit(1)
