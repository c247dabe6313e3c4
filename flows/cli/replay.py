"""The command ``flywheel replay``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from flows.cli.options import json_option
from flows.cli.output import echo
from flywheel.config import Home, load_use_case
from flywheel.files import hashing


@click.command()
@click.option(
    "--nights", default=30, show_default=True, type=click.IntRange(min=2), help="Of each life."
)
@click.option(
    "--seeds", default=3, show_default=True, type=click.IntRange(min=1), help="Lives of a policy."
)
@click.option(
    "--mode",
    type=click.Choice(["statistical", "real"]),
    default="statistical",
    show_default=True,
    help="A cheap learner (TF-IDF), or the training of a use case.",
)
@click.option(
    "--data",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A table with the columns text and label, and maybe domain; by default texts are made up.",
)
@click.option(
    "--policy",
    "policies",
    multiple=True,
    help="A policy, several times: ours, no-curation, no-fresh-rows, no-split, no-old-rows, "
    "no-caps, no-audits, at-least-as-good, newest or threshold; all by default.",
)
@click.option(
    "--world",
    default="drift",
    show_default=True,
    help="How customers change: drift, steady, season, new-label, selective, copies, "
    "shared-error, loud-label or attacked.",
)
@click.option("--rows", type=click.IntRange(min=1), help="Requests a night; the world's own.")
@click.option("-u", "--use-case", help="Whose training is used with --mode real.")
@click.option(
    "--jobs", default=1, show_default=True, type=click.IntRange(min=1), help="Lives at once."
)
@json_option
def replay(
    nights: int,
    seeds: int,
    mode: str,
    data: Path | None,
    policies: tuple[str, ...],
    world: str,
    rows: int | None,
    use_case: str | None,
    jobs: int,
    as_json: bool,
) -> None:
    """Live many nights with customers who are made up, and measure what is true.

    The nights are those of flywheel night. Customers' right answers are known to the replay alone.
    Stopped anywhere, it goes on where it was; page and report.json lie under replay/ of the home.

    \b
    Example: flywheel replay --nights 90 --seeds 20 --jobs 2
             flywheel replay --policy ours --policy at-least-as-good --data tickets.csv
    """
    from dataclasses import replace

    from flows.replay.grid import Lives
    from flywheel.replay.policies import named
    from flywheel.replay.settings import CHEAP, Settings
    from flywheel.replay.worlds import world as world_named

    chosen = named(policies, real=mode == "real")
    drawn = world_named(world)
    settings = Settings(
        mode="real" if mode == "real" else "statistical",
        nights=nights,
        world=replace(drawn, rows=rows) if rows else drawn,
        training=_training(use_case) if mode == "real" else CHEAP,
        data=str(data.resolve()) if data else None,
        data_sha256=hashing.of_file(data) if data else None,
    )
    lives = Lives(settings, Home(), chosen, seeds)
    lives.run(jobs)
    facts = lives.report()
    if as_json:
        echo(json.dumps(facts))
        return
    for line in _lines(facts):
        echo(line)
    echo(f"report: {lives.folder / 'report.html'}")


def _training(use_case: str | None) -> dict[str, Any]:
    from flywheel.config import DEFAULT_USE_CASE

    found = load_use_case(use_case or DEFAULT_USE_CASE).training
    return found.model_dump(mode="json", exclude_unset=True)


def _lines(facts: dict[str, Any]) -> list[str]:
    from flywheel.replay.page import shown
    from flywheel.replay.policies import OURS
    from flywheel.replay.targets import targets

    lines = [
        f"{'policy':18} {'first':>6} {'last':>6} {'oracle':>6} {'wrong lives':>18} {'behind':>6}"
    ]
    for one in facts["policies"]:
        accuracy = one["accuracy_by_night"]
        low, high = one["wrong_promotion_95"]
        wrong = f"{one['wrong_promotion_rate']:.0%} ({low:.0%} to {high:.0%})"
        lines.append(
            f"{one['policy']:18} {_share(accuracy[0])} {_share(accuracy[-1])} "
            f"{_share(one['oracle_accuracy'])} {wrong:>18} {_share(one['behind_own_best'])}"
        )
    return lines + [
        f"{one['result']}: {one['says']} {one['measured']} ({one['bound']})"
        for policy in facts["policies"]
        if policy["policy"] == OURS
        for one in map(shown, targets(policy))
    ]


def _share(value: float | None) -> str:
    return "     -" if value is None else f"{value:6.3f}"
