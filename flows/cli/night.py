"""The commands that live nights: ``flywheel night`` and ``turn``."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from flows.cli.decisions import user
from flows.cli.exits import with_prefect
from flows.cli.options import json_option, use_case_option, verbose_option
from flows.cli.output import echo
from flywheel.config import Home, UseCase, load_use_case


@click.command()
@verbose_option
@json_option
def turn(verbose: bool, as_json: bool) -> None:
    """One full turn of the default use case on real data.

    \b
    Example: flywheel turn
    """
    from flows.demo import turn as turn_flow

    with with_prefect():
        nights = turn_flow()
    if as_json:
        echo(json.dumps(nights, default=str))
        return
    for ended in nights:
        echo(_lines(ended, verbose=verbose))


@click.command()
@use_case_option
@click.option(
    "--as-of",
    type=click.DateTime([*click.DateTime().formats, "%Y-%m-%dT%H:%M:%S%z"]),
    help="The night's time, in UTC unless an offset says otherwise; by default now.",
)
@click.option(
    "--looked",
    is_flag=True,
    help="You looked at feedback that a night refused as unusual: learn from it.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Say what would be pulled, curated, trained and asked; write nothing.",
)
@verbose_option
@json_option
def night(
    use_case: str,
    as_of: datetime | None,
    looked: bool,
    dry_run: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """One night now, in this process: the same flow as the deployment.

    --dry-run works on a copy of the inbox and the warehouse, and reads the sources.
    It prints the verdict, the rules that decide, where the page is, and the next command. -v adds
    the statistics and the rules that passed or are off.

    \b
    Example: flywheel night -u product-reviews --as-of 2026-01-02T02:30:00
             flywheel night -u product-reviews --dry-run
    """
    case, moment = load_use_case(use_case), _in_utc(as_of) if as_of else None
    if dry_run:
        if looked:
            raise click.UsageError("--looked is written down, and --dry-run writes nothing.")
        _dry_run(case, moment or datetime.now(UTC).replace(microsecond=0), as_json=as_json)
        return
    from flows.retrain import flywheel

    if looked:
        from tasks.unusual_feedback import go_on

        go_on(case, Home(), at=datetime.now(UTC), who=user())
    with with_prefect():
        ended = flywheel(case, moment)
    echo(json.dumps(ended, default=str) if as_json else _lines(ended, verbose=verbose))


def _in_utc(given: datetime) -> datetime:
    return given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)


def _dry_run(case: UseCase, at: datetime, *, as_json: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="flywheel-prefect-") as folder:
        # Prefect makes its folder as it is imported
        os.environ["PREFECT_HOME"] = folder
        from tasks import dry_run

        found = dry_run.dry_run(case, Home(), at=at)
    echo(json.dumps(found, default=str) if as_json else dry_run.render_text(found))


def _lines(ended: Mapping[str, Any], *, verbose: bool) -> list[str]:
    from flywheel.reports.console import night_lines
    from flywheel.reports.verdict import verdict_lines
    from tasks.report import page_path

    page = page_path(Home(), ended["use_case"], datetime.fromisoformat(ended["as_of"]))
    lines = verdict_lines(ended, page=str(page) if page.is_file() else None)
    return [*lines, "", *night_lines(ended)] if verbose else lines
