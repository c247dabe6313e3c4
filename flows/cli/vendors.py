"""The command ``flywheel vendor``."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click

from flows.cli.options import json_option, use_case_option
from flows.cli.output import echo
from flywheel.config import Home, load_use_case


@click.command()
@click.argument("names", nargs=-1)
@use_case_option
@click.option("--per-day", type=click.FloatRange(min=0, min_open=True), help="Answers a day.")
@click.option("--yes", is_flag=True, help="Send the texts. Without, only say what would be sent.")
@click.option("--replay", is_flag=True, help="Compare from recorded answers alone; sends nothing.")
@json_option
def vendor(
    names: tuple[str, ...],
    use_case: str,
    per_day: float | None,
    yes: bool,
    replay: bool,
    as_json: bool,
) -> None:
    """Build or buy: score bought models on the holdout, and compare quality, price and latency.

    NAMES are entries of the use case's vendors, by default all. Of the settings in shots, the one
    that did best on validation rows (training rows, where there are none) is scored on the holdout.
    What was answered is kept and never paid for twice. Prices of our own answers are for --per-day,
    by default for what was answered lately.

    \b
    Example: flywheel vendor -u product-reviews --yes
             flywheel vendor -u product-reviews --replay --per-day 20000
    """
    from flywheel.vendors.report import plan_lines, render_text
    from tasks.outputs.vendors import buy, page_path, plan

    case, home = load_use_case(use_case), Home()
    if yes or replay:
        at = datetime.now(UTC)
        facts = buy(case, home, names, at=at, per_day=per_day, offline=replay)
        echo(json.dumps(facts) if as_json else render_text(facts))
        echo(str(page_path(case, home)), err=True)
        return
    plans = plan(case, home, names)
    echo(json.dumps(plans) if as_json else plan_lines(plans))
