"""What people decide: ``flywheel approve`` and ``rollback``."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from datetime import UTC, datetime

import click

from flows.cli.exits import with_prefect
from flows.cli.options import json_option, use_case_option
from flows.cli.output import echo
from flywheel.config import Home, load_use_case


@click.command()
@use_case_option
@click.argument("version", required=False)
@click.option("--by", help="Who decides; by default you, as this machine knows you.")
@click.option("--reject", is_flag=True, help="It shall not be champion.")
@json_option
def approve(
    use_case: str, version: str | None, by: str | None, reject: bool, as_json: bool
) -> None:
    """Let a version that awaits approval be champion, or reject it.

    By default the newest that waits. While a night is running the decision is noted, and carried
    out afterwards. The same can be done in MLflow: docs/guides/approval.md.

    \b
    Example: flywheel approve -u product-reviews 4 --by ann
    """
    from tasks.champion.approve import approve as approve_task

    case = load_use_case(use_case)
    # of a use case that trains on the GPU worker, it is that one which is asked
    asks_pool = case.training.where == "pool" and not reject
    with with_prefect() if asks_pool else nullcontext():
        done = approve_task(
            case, Home(), version, by=by or user(), reject=reject, at=datetime.now(UTC)
        )
    if as_json:
        echo(json.dumps(done))
    else:
        later = "noted; a night is running, and the next settling carries it out"
        echo(f"version {done['version']}: {done['result'] or later}")
        echo(f"champion is version {done['champion']}")
    if (done["result"] or "").startswith(("refused", "withdrawn")):
        sys.exit(1)


@click.command()
@use_case_option
@click.option(
    "--to",
    metavar="VERSION",
    help="A number or an alias, such as challenger; by default the champion before this one.",
)
@click.option("--yes", is_flag=True, help="Do it. Without, only say what would be done.")
@click.option("--why", default="rolled back by command", help="For the record.")
@click.option("--by", help="Who decides; by default you, as this machine knows you.")
@json_option
def rollback(
    use_case: str, to: str | None, yes: bool, why: str, by: str | None, as_json: bool
) -> None:
    """Make the champion before this one champion again, and record it.

    Without --yes nothing is changed. Again goes one champion further back. A version that is not
    what was measured is passed over. A night that is running meanwhile promotes nothing.

    \b
    Example: flywheel rollback -u product-reviews --yes --why "too many wrong refunds"
    """
    from dataclasses import asdict

    from flywheel.reports.console import holdout_of_version, rollback_lines
    from tasks.champion.rollback import Plan, plan
    from tasks.champion.rollback import rollback as roll_back

    case, home = load_use_case(use_case), Home()
    step = None
    if yes:
        step = roll_back(case, home, to=to, at=datetime.now(UTC), who=by or user(), why=why)
        made = Plan(case.name, step.before or "", step.version)
    else:
        made = plan(case, home, to=to)
    facts = {
        **asdict(made),
        "holdout": {v: holdout_of_version(case, home, v) for v in (made.champion, made.target)},
        "done": yes,
        "promotion": step and asdict(step),
    }
    echo(json.dumps(facts, default=str) if as_json else rollback_lines(facts))


def user() -> str:
    """Who this machine says that you are."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
