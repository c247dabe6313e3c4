"""The command ``flywheel quarantine``: what was set apart and why, and its way back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.cli.options import json_option, use_case_option
from flows.cli.output import echo
from flywheel.config import Home, UseCase, load_use_case

if TYPE_CHECKING:
    from flywheel.store.feedback.quarantine import SetApart

_EXAMPLES = 3


@click.command()
@use_case_option
@click.option("--retry", is_flag=True, help="Judge all rows again, by the labels of today.")
@click.option(
    "--export",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write every row with its file, number and reason into this JSON Lines file.",
)
@json_option
def quarantine(use_case: str, retry: bool, export: Path | None, as_json: bool) -> None:
    """Why rows of feedback were set apart, how many, and where they stand.

    Rows that were refused for a label come back by themselves with the next ingest once the use
    case has it, and all are judged again by a version that takes more; those of a source whose
    settings changed are pulled again. --export writes
    customers' texts: keep the file as you keep the home.

    \b
    Example: flywheel quarantine -u support
             flywheel quarantine -u support --retry
    """
    from tasks.quarantine import retry as retry_all

    case, home = load_use_case(use_case), Home()
    if retry:
        done = asdict(retry_all(case, home, at=datetime.now(UTC), everything=True))
        told = ", ".join(f"{count} {name}" for name, count in done.items()) + " rows"
        echo(json.dumps(done) if as_json else told)
        return
    found = _rows(case, home)
    if export is not None:
        _write(export, found)
    if as_json:
        echo(json.dumps(_facts(found)))
        return
    if not found:
        echo(f"nothing of {case.name} is in quarantine")
    for reason, rows in _by_reason(found):
        shown = ", ".join(f"{row.file} row {row.number}" for row in rows[:_EXAMPLES])
        more = ", …" if len(rows) > _EXAMPLES else ""
        echo([f"{len(rows):,} rows: {reason}", f"  {shown}{more}"])


def _rows(case: UseCase, home: Home) -> list[SetApart]:
    from flywheel.store import open_store
    from flywheel.store.feedback import quarantine

    if not home.warehouse.exists():
        return []
    with open_store(home.warehouse, read_only=True) as store:
        return quarantine.rows(store, case.name)


def _by_reason(found: Sequence[SetApart]) -> list[tuple[str, list[SetApart]]]:
    counts = Counter(row.reason for row in found)
    return [(why, [row for row in found if row.reason == why]) for why, _ in counts.most_common()]


def _facts(found: Sequence[SetApart]) -> list[dict[str, object]]:
    return [
        {
            "reason": reason,
            "rows": len(rows),
            "examples": [{"file": row.file, "row": row.number} for row in rows[:_EXAMPLES]],
        }
        for reason, rows in _by_reason(found)
    ]


def _write(path: Path, found: Sequence[SetApart]) -> None:
    from flywheel.files.private_files import replace

    rows = (
        {"file": row.file, "row": row.number, "reason": row.reason, "raw": row.raw} for row in found
    )
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    replace(path, "".join(lines).encode("utf-8", "backslashreplace"))
    echo(f"wrote {len(found):,} rows to {path}", err=True)
