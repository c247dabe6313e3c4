"""Nights that come by themselves: ``schedule``, ``unschedule`` and ``schedules``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.cli.options import json_option, named, use_case_option
from flows.cli.output import echo
from flywheel.config import DEFAULT_USE_CASE, Home, load_use_case, use_case_path
from flywheel.errors import ConfigError
from flywheel.home import schedules as kept
from flywheel.home.schedules import nightly

if TYPE_CHECKING:
    from flows.schedules import Scheduled


@click.command()
@use_case_option
@click.option("--at", required=True, metavar="HH:MM", help="The time of day.")
@click.option(
    "--tz",
    "zone",
    default="UTC",
    show_default=True,
    help="The time zone of that time, such as Europe/Berlin.",
)
@json_option
def schedule(use_case: str, at: str, zone: str, as_json: bool) -> None:
    """Live a night of the use case every day at a time, by Prefect's server and a worker.

    Each use case has its own deployments, and its own limit of one night at once. Again with
    another time, it changes the time. The home keeps the schedule, so that make deploy gives it to
    a new server.

    Where clocks are changed, each day still has one night: a time that is skipped is lived an hour
    earlier, and of a time that comes twice the first is taken.

    Where the use case names what starts a night early (watch:), that is looked at from now on.
    After a change of watch: run this again.

    \b
    Example: flywheel schedule -u support --at 02:30 --tz Europe/Berlin
    """
    home, case = Home(), load_use_case(use_case)
    name, every = case.name, case.watch.minutes
    wanted = nightly(_for_a_worker(use_case, name), at, zone, watch_minutes=every)
    from flows import schedules

    with schedules.server(home) as client:
        done = schedules.schedule(client, name, wanted)
    kept.keep(home, name, wanted)
    echo(json.dumps(asdict(done), default=str) if as_json else _line(done))


def _scheduled(context: click.Context, option: click.Parameter, value: str | None) -> str:
    """The use case as it was named, also one whose file is gone while it is on the schedule."""
    try:
        return named(context, option, value)
    except ConfigError:
        if value is None or kept.kept(Home()).get(value) is None:
            raise
        return value


@click.command()
@click.option("-u", "--use-case", callback=_scheduled, help="As of schedule; its file may be gone.")
@json_option
def unschedule(use_case: str, as_json: bool) -> None:
    """Let no night of the use case come by itself any more.

    flywheel night -u NAME still lives one now.

    \b
    Example: flywheel unschedule -u support
    """
    home = Home()
    name = use_case if use_case in kept.kept(home) else load_use_case(use_case).name
    was = take_off(home, name)
    said = "is no longer on the schedule" if was else "was not on the schedule"
    echo(json.dumps({"use_case": name, "was": was}) if as_json else f"{name} {said}")


def take_off(home: Home, name: str) -> bool:
    """Take a use case off the server's schedule and the home's; whether it was on the server's.

    Raises:
        OrchestratorUnavailable: as `flows.schedules.server`; nothing was changed.
    """
    from flows import schedules

    with schedules.server(home) as client:
        was = schedules.unschedule(client, name)
    if name == DEFAULT_USE_CASE:
        # prefect.yaml names a time for it, which the next make deploy would take
        kept.keep(home, name, None)
    else:
        kept.forget(home, name)
    return was


@click.command("schedules")
@json_option
def schedules_command(as_json: bool) -> None:
    """Which use cases live their nights by themselves, when, and when next.

    \b
    Example: flywheel schedules
    """
    from flows import schedules

    with schedules.server(Home()) as client:
        found = schedules.scheduled(client)
    if as_json:
        echo(json.dumps([asdict(one) for one in found], default=str))
        return
    if not found:
        echo("Nothing is on the schedule: flywheel schedule -u NAME --at 02:30", err=True)
    echo([_line(one) for one in found])


def _for_a_worker(use_case: str, name: str) -> str:
    """What names the use case's file for a process that runs in this folder."""
    usual = use_case_path(name) if Path("usecases", f"{name}.yaml").is_file() else None
    path = Path(use_case).absolute()
    return name if usual is not None and usual.absolute() == path else str(path)


def _line(one: Scheduled) -> str:
    if one.cron is None:
        return f"{one.use_case}: no night comes by itself ({one.deployment})"
    minute, hour, *days = one.cron.split()
    every = days == ["*", "*", "*"] and minute.isdigit() and hour.isdigit()
    when = f"every day at {int(hour):02}:{int(minute):02}" if every else f"cron {one.cron}"
    soon = f", next {one.next_run:%Y-%m-%d %H:%M} UTC" if one.next_run else ""
    early = f", watched every {one.watched} min" if one.watched else ""
    return f"{one.use_case}: {when} {one.zone}{soon}{early} ({one.deployment})"
