"""The command ``flywheel ingest``: feedback files, and tables with columns of their own."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from flows.options import json_option, use_case_option
from flywheel.config import Home, load_use_case

_NO_KIND = "kind is missing or empty"
_SHOWN_REASONS = 8


@click.command()
@use_case_option
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--text", multiple=True, help="FILES are labelled tables: the column of the texts.")
@click.option("--label", help="The column of the labels in such a table.")
@click.option("--customer", help="The column of whom a row is; - for none, as for the others.")
@click.option("--time", help="The column of when it was labelled or said.")
@click.option("--rater", help="The column of who labelled it.")
@click.option("--group", help="The column of what must not straddle the exam.")
@click.option("--encoding", help="Of such a table: cp1250, cp1251, …; found by itself else.")
@json_option
def ingest(
    use_case: str,
    files: tuple[Path, ...],
    text: tuple[str, ...],
    label: str | None,
    customer: str | None,
    time: str | None,
    rater: str | None,
    group: str | None,
    encoding: str | None,
    as_json: bool,
) -> None:
    """Bring the inbox, or the files named, into the warehouse.

    With --text and --label, FILES are tables with columns of their own, as flywheel init reads
    them: an export that came later. Exit code 1 where rows were read and none was taken.

    \b
    Example: flywheel ingest -u product-reviews feedback.jsonl
             flywheel ingest -u support --text body --label topic tickets-may.csv
    """
    from tasks.ingest import ingest_inbox
    from tasks.labelled_table import drop_table

    case, home, at = load_use_case(use_case), Home(), datetime.now(UTC)
    if bool(text) != bool(label) or (text and not files):
        raise click.UsageError("A labelled table needs FILES, --text and --label, all three.")
    if not text and any((customer, time, rater, group, encoding)):
        raise click.UsageError("Columns and --encoding are for tables: name --text and --label.")
    taken = list(files)
    if text:
        roles = {"customer": customer, "time": time, "rater": rater, "group": group}
        tables = [
            drop_table(case, home, file, at=at, text=text, label=label, encoding=encoding, **roles)
            for file in files
        ]
        taken = [one.path for one in tables]
        for file, one in zip(files, tables, strict=True):
            _say_reasons(f"{file}: left out", one.left_out)
    before = Counter(_reasons(case.name, home))
    counts = ingest_inbox(case, home, at=at, files=taken)
    reasons = Counter(_reasons(case.name, home))
    reasons.subtract(before)
    done = asdict(counts)
    shown = ", ".join(f"{value} {name}" for name, value in done.items()) + " rows"
    click.echo(json.dumps(done) if as_json else shown)
    _say_reasons("quarantined", +reasons)
    if not counts.read and files:
        _say_nothing_read(taken, files)
    elif counts.read and counts.quarantined == counts.read:
        click.echo(_none_taken(case.name, reasons), err=True)
        sys.exit(1)


def _reasons(use_case: str, home: Home) -> dict[str, int]:
    from flywheel.store import open_store

    if not home.warehouse.exists():
        return {}
    with open_store(home.warehouse) as store:
        return store.quarantine_reasons(use_case)


def _say_reasons(what: str, reasons: Mapping[str, int]) -> None:
    for reason, count in Counter(reasons).most_common(_SHOWN_REASONS):
        click.echo(f"{what}: {count} rows: {reason}", err=True)


def _none_taken(use_case: str, reasons: Mapping[str, int]) -> str:
    if not reasons.get(_NO_KIND):
        return "flywheel: not one row was taken; the reasons are above."
    return (
        "flywheel: not one row was taken: this is not a feedback file. Needed columns: kind, "
        "rater_id, source, given_at, and text or prediction_id; for kind label also value. A "
        "labelled table with columns of its own comes in by flywheel ingest -u "
        f"{use_case} --text COLUMN --label COLUMN FILE."
    )


def _say_nothing_read(taken: list[Path], files: tuple[Path, ...]) -> None:
    """Say of each file whether it is empty or known; an empty one is exit code 1."""
    from flywheel.inbox import rows_and_blank_lines

    empty = 0
    for one, file in zip(taken, files, strict=True):
        # what came into the inbox from a table lies in done/ by now, and was not empty
        rows, blank = rows_and_blank_lines(file) if one == file else (1, 0)
        why = "was ingested before" if rows else "holds no row"
        if not rows and blank:
            why += f", only blank lines ({blank:,})"
        empty += not rows
        click.echo(f"{file} {why}; nothing was taken from it.", err=True)
    if empty == len(files):
        sys.exit(1)
