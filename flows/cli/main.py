"""The command line: ``flywheel COMMAND``.

Results go to stdout (``--json``: one document), talk and progress to stderr. Exit codes: 0 done (a
rejected challenger is done), 1 failed, 2 wrong usage. Libraries are imported by the command that
needs them, so that ``--help`` answers at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NoReturn

import click

from flows.cli.backup import backup, prune, remove, restore
from flows.cli.bench import bench_command
from flows.cli.config import config
from flows.cli.decisions import approve, rollback
from flows.cli.exits import STOPPED, Commands, refused
from flows.cli.export import export
from flows.cli.ingest import ingest
from flows.cli.init import init
from flows.cli.inspect import doctor, lineage, list_command, ps, status
from flows.cli.models import models
from flows.cli.night import night, turn
from flows.cli.options import in_home, json_option, use_case_option
from flows.cli.output import echo, fail, log_to_stderr, wants_json
from flows.cli.quarantine import quarantine
from flows.cli.replay import replay
from flows.cli.schedule import schedule, schedules_command, unschedule
from flows.cli.serve import serve
from flows.cli.vendors import vendor
from flywheel import __version__
from flywheel.config import Home, load_use_case
from flywheel.errors import ConfigError, FlywheelError
from flywheel.home.environment import prepare


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(version)s")
def cli() -> None:
    """Make your own language model better every night from what your customers say."""
    prepare(Home())
    log_to_stderr()


@cli.command()
@use_case_option
@click.option(
    "--n", "size", default=50, show_default=True, type=click.IntRange(min=1), help="How many rows."
)
@click.option(
    "--audit-share",
    default=0.2,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Share of the rows that is drawn uniformly.",
)
@click.option(
    "--csv",
    "csv_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the rows into this file, to be labeled in a spreadsheet.",
)
@click.option(
    "--label-studio",
    "studio_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write them as tasks for Label Studio; its configuration goes to stderr.",
)
@click.option(
    "--import",
    "labeled",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A queue that came back, CSV or a Label Studio export: its labels go into the inbox.",
)
@click.option("--rater", default="labeller", show_default=True, help="Who labeled it.")
@json_option
def queue(
    use_case: str,
    size: int,
    audit_share: float,
    csv_file: Path | None,
    studio_file: Path | None,
    labeled: Path | None,
    rater: str,
    as_json: bool,
) -> None:
    """What a person should label next, and the labels back.

    A share is drawn uniformly as an audit, so that the holdout can grow without bias: from what
    was asked since the audits before, or longer ago where that is too little.

    \b
    Example: flywheel queue -u support --csv todo.csv
             flywheel queue -u support --import todo.csv --rater ann
    """
    from dataclasses import asdict

    from flywheel.ingestion.labeling_queue import as_csv, as_label_studio, label_studio_config
    from tasks.collect import write
    from tasks.use_case.labeling import import_labels, make_queue, put_aside

    case, now = load_use_case(use_case), datetime.now(UTC).replace(microsecond=0)
    if labeled is not None:
        done = import_labels(case, Home(), labeled, rater=rater, at=now)
        echo(json.dumps(done.counts()) if as_json else done.line())
        return
    items = make_queue(case, Home(), size=size, audit_share=audit_share, at=now)
    if csv_file is not None:
        if (aside := put_aside(csv_file, at=now)) is not None:
            echo(aside, err=True)
        # by a byte order mark Excel knows that it is UTF-8
        write(csv_file, f"\ufeff{as_csv(items)}")
        if items:
            echo(
                f"{csv_file}: fill in its column label, then flywheel queue -u {case.name} "
                f"--import {csv_file} --rater NAME",
                err=True,
            )
    if studio_file is not None:
        write(studio_file, as_label_studio(items))
        echo(label_studio_config(case.label_names), err=True)
    if as_json:
        echo(json.dumps([asdict(item) for item in items]))
        return
    if not items:
        echo(
            f"Nothing to label: no request of {case.name} in the warehouse waits for a label. What "
            f"was asked since the last night comes in by flywheel ingest -u {case.name}, texts "
            f"that you have by flywheel ingest -u {case.name} FILE.",
            err=True,
        )
    for item in items:
        echo(f"{item.reason:<12} {item.score:.2f}  {item.item_id}")


@cli.command()
@use_case_option
@json_option
def pull(use_case: str, as_json: bool) -> None:
    """Fetch what is new in the use case's sources into the inbox.

    \b
    Example: flywheel pull -u support && flywheel ingest -u support
    """
    from tasks.pull import pull as pull_task

    done = pull_task.fn(load_use_case(use_case), Home(), at=datetime.now(UTC))
    echo(json.dumps(done) if as_json else _sentence("new rows", done) if done else "no sources")


@cli.command()
@use_case_option
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--to",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to this file instead, .parquet or .jsonl; stopped, it goes on where it was.",
)
@json_option
def predict(use_case: str, file: Path, to: Path | None, as_json: bool) -> None:
    """Answer every text of FILE with the champion: JSON Lines on stdout, stored as well.

    FILE is Parquet or JSON Lines, with "text" and, if known, "group_id" (a conversation) or
    "customer_id", which is the group where none is given. Where inputs are pictures, "text" is a
    path beside FILE, a data: URL, or an address.

    \b
    Example: flywheel predict -u product-reviews asked.jsonl > answers.jsonl
             flywheel predict -u product-reviews asked.parquet --to answers.parquet
    """
    from flywheel.dataset.images import Images
    from flywheel.serving.batch_files import answer_rows, read_rows, with_addresses
    from tasks.outputs.predict import predict as predict_task

    if to is not None:
        from tasks.outputs.predict_file import predict_file

        done = predict_file.fn(load_use_case(use_case), Home(), file, to, at=datetime.now(UTC))
        echo(json.dumps(done) if as_json else "{rows} answers in {to}".format(**done))
        return
    case, home = load_use_case(use_case), Home()
    rows = read_rows(file, by_customer=case.split.by_customer)
    if case.is_image:
        rows = with_addresses(rows, Images(home.images), file.parent)
    answers = answer_rows(predict_task.fn(case, home, rows, at=datetime.now(UTC)))
    if as_json:
        echo(json.dumps(answers))
        return
    for answer in answers:
        echo(json.dumps(answer))


@cli.command()
@click.argument("customer")
@click.option("-u", "--use-case", help="Only this use case; by default all that are in the home.")
@click.option("--alike", is_flag=True, help="Delete others' texts that are almost theirs, too.")
@click.option(
    "--quotes",
    type=click.Choice(["ask", "keep", "delete"]),
    default="ask",
    help="Others' rows that quote them: few go, many stop it (ask); or all stay, or all go.",
)
@click.option("--yes", is_flag=True, help="Do it. Without, only say what would be done.")
@json_option
def forget(
    customer: str,
    use_case: str | None,
    alike: bool,
    quotes: Literal["ask", "keep", "delete"],
    yes: bool,
    as_json: bool,
) -> None:
    """Forget a customer everywhere, and certify it.

    CUSTOMER is who stands as customer_id, rater_id or group_id of predictions and feedback;
    feedback by others on answers given to them, and later texts by others that quote them, go too.
    What others said first stays, and so does gold.
    Without --yes nothing is changed. Killed half-way, the same command finishes it. Where the name
    stays in a file, each run says so and ends with exit code 1.

    \b
    Example: flywheel forget customer-17 --yes
    """
    from tasks.erasure.erase import certificate_path, plan
    from tasks.erasure.erase import forget as forget_person

    home = Home()
    names = None if use_case is None else (_name_of(use_case, home),)
    if not yes:
        from dataclasses import asdict

        from flywheel.privacy.erasure_plan import plan_lines

        made = plan(home, customer, use_cases=names, alike=alike, quotes=quotes)
        echo(json.dumps(asdict(made)) if as_json else plan_lines(made))
        if made.is_empty and made.named_in:
            sys.exit(1)
        return
    at = datetime.now(UTC)
    done = forget_person(home, customer, at=at, use_cases=names, alike=alike, quotes=quotes)
    page = certificate_path(home, done["certificate_id"])
    echo(json.dumps({**done, "path": str(page)}) if as_json else str(page))
    if not done["complete"]:
        places = "".join(f"\n  {one}" for one in done["searched_afterwards"]["found"])
        echo(f"flywheel: NOT COMPLETE; the person is still found in{places}", err=True)
        sys.exit(1)


for command in (
    turn,
    night,
    init,
    config,
    ingest,
    quarantine,
    list_command,
    ps,
    status,
    doctor,
    lineage,
    approve,
    rollback,
    models,
    serve,
    bench_command,
    replay,
    vendor,
    export,
    backup,
    restore,
    prune,
    remove,
    schedule,
    unschedule,
    schedules_command,
):
    cli.add_command(command)

# what only looks at files of the project, or makes the home itself
NO_HOME = ("list", "models", "restore", "config")
for name, one in cli.commands.items():
    if name not in NO_HOME:
        in_home(one)


def _name_of(use_case: str, home: Home) -> str:
    """A use case may be gone from usecases/ while its customers' data are still here."""
    return use_case if home.inbox(use_case).is_dir() else load_use_case(use_case).name


def _sentence(noun: str, counts: dict[str, Any]) -> str:
    return ", ".join(f"{value} {name}" for name, value in counts.items()) + f" {noun}"


def main(run: Callable[..., Any] = cli) -> None:
    """Run the command line; every error on purpose is one plain paragraph, not a traceback."""
    # with --json click must not print its own words about wrong usage
    as_json = wants_json()
    # flows.servers come by this door, too, and are no commands of click's
    own = {"standalone_mode": not as_json} if isinstance(run, click.Command) else {}
    try:
        code = run(prog_name="flywheel", **own)
    except click.ClickException as error:
        end("UsageError", error.format_message(), error.exit_code)
    except click.Abort:
        end("Stopped", STOPPED, 1)
    except ConfigError as error:
        end(type(error).__name__, str(error), 2)
    except FlywheelError as error:
        end(type(error).__name__, str(error), 1)
    except OSError as error:
        said = refused(error)
        if said is None:
            raise
        end(type(error).__name__, said, 1)
    if as_json and isinstance(code, int):
        sys.exit(code)


def end(kind: str, message: str, code: int) -> NoReturn:
    """Say why a command failed, and end this process."""
    fail(kind, message)
    sys.exit(code)
