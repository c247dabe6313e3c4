"""``flywheel init``: from a labeled file to a use case, in questions where somebody is there."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import click

from flows.cli.options import columns_options, json_option
from flows.cli.output import echo
from flywheel.config import Home
from flywheel.config.method_specs import RECIPES, MethodName
from flywheel.config.task_types import Kind

_SHOWN_LABELS = 8
_SHOWN_COLUMNS = 4
_SAYS = {"customer": "who", "time": "when"}


@click.command()
@click.argument("name")
@click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A labeled file: CSV or TSV of any separator, JSON Lines, JSON or Parquet.",
)
@columns_options
@click.option(
    "--kind",
    type=click.Choice(get_args(Kind)),
    help="Name text-generation where a text (a summary, a reply) is to be written.",
)
@click.option(
    "--merge-labels/--keep-labels",
    default=None,
    help="Whether Billing and billing are the same label; by default they are.",
)
@click.option(
    "--reactions",
    type=click.Choice(["all", "some"]),
    help="Whether nearly every answer gets a reaction (all, the default) or complaints only come.",
)
@click.option(
    "--method",
    type=click.Choice(list(RECIPES)),
    help="How it learns; by default what this machine has time for.",
)
@click.option("--describe", default="", help="One line for people.")
@click.option("--force", is_flag=True, help="Overwrite the use case if it is there.")
@click.option("--yes", is_flag=True, help="Ask nothing; take what is found.")
@json_option
def init(
    name: str,
    data: Path,
    text: tuple[str, ...],
    label: str | None,
    customer: str | None,
    time: str | None,
    rater: str | None,
    group: str | None,
    kind: Kind | None,
    merge_labels: bool | None,
    reactions: str | None,
    method: MethodName | None,
    separator: str | None,
    encoding: str | None,
    describe: str,
    force: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Write usecases/NAME.yaml from a labeled file, and put its rows into the inbox.

    On a terminal it asks for what no option names, and proposes what it found; elsewhere, and with
    --yes, it takes that.

    \b
    Example: flywheel init support --data tickets.csv && flywheel night -u support
             flywheel init notes --data calls.jsonl --label summary --kind text-generation
    """
    from tasks.use_case.onboard import Answers, onboard

    answers = Answers(
        text=text,
        label=label,
        group=group,
        customer=customer,
        rater=rater,
        time=time,
        kind=kind,
        merge=merge_labels,
        everyone=None if reactions is None else reactions == "all",
        method=method,
        separator=separator,
        encoding=encoding,
    )
    asks = sys.stdin.isatty() and not yes and not as_json
    done = onboard(
        name,
        data,
        Home(),
        answers=answers,
        describe=describe,
        force=force,
        ask=_ask if asks else None,
    )
    echo(json.dumps(done) if as_json else welcome(done))


def _ask(question: Any) -> str:
    """Ask on the terminal; the return key takes what is proposed."""
    choices = click.Choice(question.choices) if question.choices else None
    return str(click.prompt(question.text, default=question.default, type=choices, err=True))


def welcome(done: Mapping[str, Any]) -> list[str]:
    """What was found, what was left out and why, what is proposed, and the next command."""
    return [
        *_found(done),
        *(f"note: {note}" for note in done["notes"]),
        *_left_out(done),
        *done["reasons"],
        *(f"warning: {warning}" for warning in done["warnings"]),
        f"wrote {done['file']}; read it, it is a proposal",
        f"next: flywheel night -u {done['use_case']}",
    ]


def _found(done: Mapping[str, Any]) -> list[str]:
    named = [
        f"{role}: {'columns' if ' + ' in done[role] else 'column'} {done[role]!r}"
        for role in ("text", "label", "customer", "time", "rater")
        if done[role]
    ]
    missing = [role for role in ("customer", "time") if not done[role]]
    group = f"group: column {done['group']!r}" if done["group"] else "every text is its own group"
    lines = ["; ".join([*named, group])]
    if missing:
        flags = " or ".join(f"--{role}" for role in missing)
        lines.append(
            f"no column says {' or '.join(_SAYS[role] for role in missing)}; name it by "
            f"{flags} where one does"
        )
    if may_be := list(done["may_be_customer"].items()):
        shown = ", ".join(f"{name!r} ({values} values)" for name, values in may_be[:_SHOWN_COLUMNS])
        more = ", …" if len(may_be) > _SHOWN_COLUMNS else ""
        lines.append(f"  --customer could be: {shown}{more}")
    labels = list(done["labels"].items())
    if not labels:
        return [*lines, f"{done['rows']} rows with a text to be written"]
    shown = ", ".join(f"{label} {count}" for label, count in labels[:_SHOWN_LABELS])
    more = f" and {len(labels) - _SHOWN_LABELS} more" if len(labels) > _SHOWN_LABELS else ""
    return [*lines, f"{done['rows']} rows, {len(labels)} labels: {shown}{more}"]


def _left_out(done: Mapping[str, Any]) -> list[str]:
    if not done["unusable"]:
        return []
    reasons = []
    for why, one in done["apart"].items():
        rows = ", ".join(map(str, one["first"]))
        more = ", …" if one["rows"] > len(one["first"]) else ""
        reasons.append(f"  {one['rows']} {why}{f' (row {rows}{more})' if rows else ''}")
    return [f"left out: {done['unusable']} rows", *reasons]
