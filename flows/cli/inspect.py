"""The commands that only look: ``flywheel status``, ``doctor`` and ``lineage``."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from flows.cli.options import json_option, use_case_option
from flows.cli.output import echo
from flywheel.config import Home, load_use_case
from flywheel.errors import OrchestratorUnavailable
from flywheel.records.findings import Finding


@click.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """The use cases here: kind, champion, last night; and those that only the home knows.

    \b
    Example: flywheel list
    """
    from flywheel.diagnostics.use_cases import render_text, use_cases

    found = use_cases(Path("usecases"), Home())
    echo(json.dumps(found, default=str) if as_json else render_text(found))


@click.command()
@use_case_option
@json_option
def status(use_case: str, as_json: bool) -> None:
    """Champion, what awaits approval, exports, last nights and promotions, waiting feedback.

    \b
    Example: flywheel status --json
    """
    from flywheel.reports.console import status as facts_of
    from flywheel.reports.console import status_lines

    facts = facts_of(load_use_case(use_case), Home())
    echo(json.dumps(facts, default=str) if as_json else status_lines(facts))


@click.command()
@json_option
def ps(as_json: bool) -> None:
    """Which nights run in this home, and who waits for whom.

    \b
    Example: flywheel ps
    """
    from flywheel.diagnostics import waits

    told = waits.nights_and_waits(Home())
    if as_json:
        echo(json.dumps(told))
        return
    echo(waits.render_text(told) or ["No night runs, and nobody waits."])


@click.command()
@use_case_option
@click.option("--security", is_flag=True, help="Only name every door that is open here.")
@json_option
def doctor(use_case: str, security: bool, as_json: bool) -> None:
    """Is this machine ready, and what can be learned and proven with the data that is there?

    Ends in a recommendation: train, label more, or wait. With --security it looks at files,
    servers and settings instead, and says what closes each door that is open; exit code 1 where
    one is.

    \b
    Example: flywheel doctor -u product-reviews
             flywheel doctor --security
    """
    if security:
        _name_doors(use_case, as_json=as_json)
        return
    from flywheel.access.prefect_password import finding
    from flywheel.diagnostics import backlog, senders
    from flywheel.diagnostics.doctor import examine, render_text

    case, home = load_use_case(use_case), Home()
    examined = examine(case, home, now=datetime.now(UTC))
    asked = finding(home, os.environ)
    waits = [*senders.finding(case, home), *backlog.finding(case, home)]
    findings = [*asked, *(_deployments(home) if asked else []), *waits, *examined]
    echo(json.dumps([asdict(one) for one in findings]) if as_json else render_text(findings))
    if not all(finding.ok for finding in findings):
        sys.exit(1)


def _deployments(home: Home) -> list[Finding]:
    """Deployments on the server that answers whose nights would crash; often nothing."""
    from flows import schedules

    try:
        with schedules.server(home) as client:
            gone = schedules.out_of_date(client)
    except OrchestratorUnavailable as unread:
        return [Finding("deployments", True, f"were not read: {unread}")]
    if not gone:
        return []
    detail = (
        f"these were made by another version of flywheel, and their runs crash: {', '.join(gone)}. "
        "Run make deploy, which makes them anew"
    )
    return [Finding("deployments", False, detail)]


def _name_doors(use_case: str, *, as_json: bool) -> None:
    from flywheel.diagnostics import security_check

    doors = security_check.doors(load_use_case(use_case), Home(), os.environ)
    echo(
        json.dumps([asdict(door) for door in doors])
        if as_json
        else security_check.render_text(doors)
    )
    if not all(door.ok for door in doors):
        sys.exit(1)


@click.command()
@use_case_option
@click.argument("identity", metavar="ID")
@click.option("--texts", is_flag=True, help="Show what customers wrote, too.")
@json_option
def lineage(use_case: str, identity: str, texts: bool, as_json: bool) -> None:
    """Where a version's labels came from, or what became of a feedback.

    ID is the number of a version, or a feedback_id. A version leads to its snapshot, examples,
    feedback, people, sources and the rules applied; a feedback to why it was or was not used, and
    in which versions.

    \b
    Example: flywheel lineage 3 -u product-reviews
    """
    from flywheel.reports.lineage import find, render_text

    found = find(load_use_case(use_case), Home(), identity, texts=texts)
    echo(json.dumps(found, default=str) if as_json else render_text(found))
