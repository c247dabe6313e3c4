"""Keeping a home safe and tidy: ``flywheel backup``, ``restore`` and ``remove``."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from flows.cli.options import json_option
from flows.cli.output import echo
from flows.cli.schedule import take_off
from flywheel.config import Home


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--without-bases", is_flag=True, help="Leave out what the next night fetches anew.")
@click.option("--force", is_flag=True, help="Overwrite FILE if it is there.")
@json_option
def backup(file: Path, without_bases: bool, force: bool, as_json: bool) -> None:
    """Write the whole home into FILE, a tar with the sha256 of everything in it.

    The service may run meanwhile; a night may not. FILE may end in .tar, .tar.gz or .tar.xz. It
    holds customers' texts and the home's keys, so that only you may read it: keep it as you keep
    the home. Who is forgotten later is still in it.

    \b
    Example: flywheel backup /backups/flywheel.tar
             flywheel restore --check /backups/flywheel.tar
    """
    from tasks.use_case.backup_home import back_up

    at = datetime.now(UTC).replace(microsecond=0)
    done = back_up(Home(), file, at=at, bases=not without_bases, force=force)
    if as_json:
        echo(json.dumps(done))
        return
    echo(f"{done['files']} files, {done['bytes'] / 1e6:.1f} MB in {done['file']}")
    echo(f"sha256 {done['sha256']}")
    if not done["registry"]:
        echo("flywheel: no registry of MLflow is in this home; back it up, too.", err=True)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--check", "only_check", is_flag=True, help="Only compare every sha256.")
@click.option("--force", is_flag=True, help="Put a home that is not empty aside, beside it.")
@json_option
def restore(file: Path, only_check: bool, force: bool, as_json: bool) -> None:
    """Make FLYWHEEL_HOME what flywheel backup wrote into FILE.

    Every file is compared with its sha256 before the home is touched. Stop the service first, and
    start it again afterwards. Whoever was forgotten since the backup is there again: forget them
    again. What it learned since is not in it.

    \b
    Example: flywheel restore --check /backups/flywheel.tar
             FLYWHEEL_HOME=/srv/flywheel flywheel restore /backups/flywheel.tar
    """
    from tasks.use_case import backup_home as back_up

    if only_check:
        done = back_up.check(file)
        said = f"{done['files']} files, all as they were backed up at {done['made_at']}"
    else:
        at = datetime.now(UTC).replace(microsecond=0)
        done = back_up.restore(Home(), file, at=at, force=force)
        aside = f"; what was there is in {done['put_aside']}" if done["put_aside"] else ""
        said = f"{done['files']} files of {done['made_at']} restored into {done['home']}{aside}"
    echo(json.dumps(done) if as_json else said)


@click.command()
@click.argument("use_case")
@click.option("--yes", is_flag=True, help="Do it. Without, only say what would be done.")
@json_option
def remove(use_case: str, yes: bool, as_json: bool) -> None:
    """Remove a use case that was made by mistake: its file, inbox and rows of the warehouse.

    USE_CASE is a name from usecases/, or one that only the home knows. One that had a night is
    refused: what was learned from people is found by its rows. Without --yes nothing is changed;
    with it, nothing brings the rows back but a backup. Stop its service first. Its schedule goes,
    too: Prefect's server must answer for that.

    \b
    Example: flywheel remove suport
             flywheel remove suport --yes
    """
    from dataclasses import asdict

    from tasks.use_case import remove as removing

    home = Home()
    work = removing.remove if yes else removing.plan
    made = work(home, use_case)
    if yes and made.schedule is not None:
        # where the server does not answer, the same command finishes it
        take_off(home, made.use_case)
    if as_json:
        echo(json.dumps({**asdict(made), "done": yes}))
        return
    rows = ", ".join(f"{count} {table}" for table, count in made.rows.items())
    echo(f"file: {made.file or 'none'}")
    echo(f"{sum(made.rows.values())} rows of the warehouse{f': {rows}' if rows else ''}")
    echo(f"{made.inbox} files of the inbox")
    echo(f"schedule: {made.schedule or 'none'}")
    echo(f"kept: {'; '.join(made.kept)}")
    echo(f"{made.use_case} was removed." if yes else "Nothing was removed; --yes does it.")


@click.command()
@click.option(
    "--keep-days",
    default=90,
    show_default=True,
    type=click.IntRange(min=1),
    help="Nothing younger than this goes.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would go, as without --yes.")
@click.option("--yes", is_flag=True, help="Do it.")
@click.option("-v", "--verbose", is_flag=True, help="Name every file and folder.")
@json_option
def prune(keep_days: int, dry_run: bool, yes: bool, verbose: bool, as_json: bool) -> None:
    """Remove old files that nothing needs any more, and say how many bytes that is.

    What goes: files that were wholly taken in (inbox/*/done), snapshots that no version or trial
    needs, trainings whose version has its own copy in the registry, pages of nights that made no
    version which is needed. A version that was rejected, never was champion and waits for nobody
    needs nothing once it is that old. The warehouse, certificates and the registry stay. A night
    that starts meanwhile waits; a prune that was killed is finished by the next.

    \b
    Example: flywheel prune
             flywheel prune --keep-days 30 --yes
    """
    from tasks import prune as pruning

    if yes and dry_run:
        raise click.UsageError("--yes removes, --dry-run does not: give one of them.")
    home, at = Home(), datetime.now(UTC)
    work = pruning.prune if yes else pruning.plan
    found = work(home, at=at, keep_days=keep_days)
    said = pruning.facts(found, home, keep_days=keep_days, done=yes)
    if as_json:
        echo(json.dumps(said))
        return
    for kind, one in said["kinds"].items():
        if one["count"]:
            echo(f"{kind:9} {one['count']:7,}   {one['bytes'] / 1e6:12,.1f} MB")
            shown = [p for p in said["paths"] if p["kind"] == kind] if verbose else []
            echo([f"  {p['path']}   {p['bytes']:,} bytes" for p in shown])
    total = f"{said['bytes'] / 1e6:,.1f} MB older than {keep_days} days"
    echo(f"{total} were removed." if yes else f"{total} would go; --yes removes them.")
