"""The command ``flywheel config``: look at a use case file before a night costs anything."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from flows.cli.options import json_option, use_case_option
from flows.cli.output import echo
from flywheel.config import Home, load_use_case, use_case_path


@click.group()
def config() -> None:
    """Check a use case file, show its effective settings, print its JSON Schema.

    \b
    Example: flywheel config check support
             flywheel config show -u support
             flywheel config schema > usecases/use-case.schema.json
    """


@config.command()
@click.argument("file", required=False)
@json_option
def check(file: str | None, as_json: bool) -> None:
    """Check FILE, a path or the name of a use case, before a night costs anything.

    Keys, types and limits; then the names of bases, sources and labels, with what a typo was meant
    to be. Exit code 1 where something is found, 2 where the file cannot be used at all.

    \b
    Example: flywheel config check support
             flywheel config check usecases/support.yaml
    """
    from flywheel.diagnostics import config_check

    path = use_case_path(file)
    case = load_use_case(str(path))
    found = config_check.check(case, Home())
    if as_json:
        echo(json.dumps({"file": str(path.resolve()), "faults": config_check.facts(found)}))
    else:
        ends = "1 fault" if len(found) == 1 else f"{len(found)} faults" if found else "no fault"
        echo([*(f"FAIL  {one.line()}" for one in found), f"{path.resolve()}: {ends}"])
        if not found:
            echo([f"next: flywheel night -u {case.name} --dry-run"])
    if found:
        sys.exit(1)


@config.command()
@use_case_option
@json_option
def show(use_case: str, as_json: bool) -> None:
    """Show every setting of a use case as it is in effect; defaults are marked.

    With --json: `settings` is the whole file as it is in effect, `defaults` the names of what the
    file does not set.

    \b
    Example: flywheel config show -u support
    """
    case = load_use_case(use_case)
    every = case.model_dump()
    given = set(dict(_flat(case.model_dump(exclude_unset=True))))
    flat = dict(_flat(every))
    if as_json:
        defaults = sorted(flat.keys() - given)
        echo(json.dumps({"settings": every, "defaults": defaults}, default=str))
        return
    widest = max(len(name) for name in flat)
    for name, value in flat.items():
        mark = "" if name in given else "  (default)"
        echo([f"{name:<{widest}}  {json.dumps(value, ensure_ascii=False, default=str)}{mark}"])


@config.command("schema")
@click.option(
    "--to",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write it into this file instead of stdout.",
)
@json_option
def schema_command(to: Path | None, as_json: bool) -> None:
    """Print the JSON Schema of a use case file, for an editor's completion.

    flywheel init writes it beside the use case and names it in the first line. It is JSON with or
    without --json.

    \b
    Example: flywheel config schema --to usecases/use-case.schema.json
    """
    from flywheel.config import json_schema

    if to is None:
        echo(json.dumps(json_schema.schema()) if as_json else json_schema.text().rstrip("\n"))
        return
    to.write_text(json_schema.text(), encoding="utf-8")
    echo(json.dumps({"path": str(to.resolve())}) if as_json else str(to.resolve()))


def _flat(settings: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    """Setting, as section.name → value. Labels and lists are values as a whole."""
    for name, value in settings.items():
        if isinstance(value, dict) and value and name != "labels":
            yield from _flat(value, f"{at}{name}.")
        else:
            yield f"{at}{name}", value
