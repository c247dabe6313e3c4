"""What replays of many nights came to, world by world, beside what they are held to.

    flywheel replay --world drift --nights 12 --seeds 3 --policy ours --policy newest
    python -m benchmarks.replay --json         # all replays of the home
    python -m benchmarks.replay --write        # docs/benchmarks/replay.md

It measures nothing: it reads the ``report.json`` of each replay in the home. The page says which
command makes each of its rows.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from flywheel.config import Home
from flywheel.replay.page import shown
from flywheel.replay.policies import OURS
from flywheel.replay.settings import CHEAP
from flywheel.replay.targets import targets
from flywheel.replay.worlds import WORLDS, World

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks" / "replay.md"
Report = Mapping[str, Any]
HEAD = """# Many nights, replayed

`python -m benchmarks.replay --write` made this page from the replays of a home.
[The guide](../guides/replay.md) says what worlds and policies are, and how it is measured.
The learner is TF-IDF: accuracies say what the loop does with it, and nothing of a language model.
CPU: {cpu}; one thread a life, and other processes ran beside.
CPU seconds are a night's own, without what the replay does around it.
"""
MISSED = """## What is missed, and why

- **Power.** After a shift `ours` keeps its champion for nights while what it trains gets better.
  About 70 fresh rows a night, of which a fifth tell the contenders apart, take some five nights to
  show a gain of ten points at the level of a whole life.
  Holdout rows of one customer are one piece of evidence, so that some 80 customers are few.
- **Intervals.** What few lives have met says little: an upper end of 7 % needs more than fifty
  lives without a wrong promotion.
- **Time.** Lives are the product's own nights; curation, MLflow and the store take most of them.
- **Not measured.** A night at ten times the history, `--mode real`, what worlds have no row above.
"""
COLUMNS = (
    *("world", "policy", "nights", "lives", "first night", "last night", "oracle"),
    *("lives with a wrong promotion (95 %)", "promotions", "behind own best"),
    *("trigger succeeds", "CPU s a night", "CPU minutes a life"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print or write what the replays of the home came to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="docs/benchmarks/replay.md")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    asked = parser.parse_args(arguments)
    found = reports(Home().root / "replay")
    if not found:
        parser.error("no replay has come to anything in this home yet")
    if asked.write:
        PAGE.write_text(page(found, cpu=_cpu()))
    if asked.json:
        print(json.dumps({name: one for name, one in found}))
    elif not asked.write:
        print(page(found, cpu=_cpu()))


def reports(folder: Path) -> list[tuple[str, Report]]:
    """World and report of each statistical replay of texts of our own, in the order of `WORLDS`."""
    read = [json.loads(file.read_text()) for file in sorted(folder.glob("*/report.json"))]
    named = [
        (name, one)
        for one in read
        if one["policies"] and not one["settings"]["data"] and one["settings"]["training"] == CHEAP
        for name in [name_of(World(**one["settings"]["world"]))]
        if name
    ]
    return sorted(named, key=lambda one: ([*WORLDS].index(one[0]), one[1]["settings"]["nights"]))


def name_of(world: World) -> str | None:
    """The name under which a world is asked for; `--rows` may have changed its rows."""
    return next(
        (name for name, one in WORLDS.items() if replace(one, rows=world.rows) == world), None
    )


def command(world: str, report: Report) -> str:
    """What makes a report."""
    settings, policies = report["settings"], report["policies"]
    rows = settings["world"]["rows"]
    parts = [
        "flywheel replay",
        f"--world {world}",
        f"--nights {settings['nights']}",
        f"--seeds {max(one['seeds'] for one in policies)}",
        *([f"--rows {rows}"] if rows != WORLDS[world].rows else []),
        *(f"--policy {one['policy']}" for one in policies),
    ]
    return " ".join(parts)


def page(found: Sequence[tuple[str, Report]], *, cpu: str) -> str:
    """The page in Markdown."""
    parts = (_head(cpu), _figures(found), _pace(found), _targets(found), _held(found))
    body = [line for part in parts for line in (*part, "")]
    return "\n".join([*body, *MISSED.splitlines(), "", *_commands(found)])


def _head(cpu: str) -> Iterator[str]:
    yield from HEAD.format(cpu=cpu).splitlines()


def _figures(found: Sequence[tuple[str, Report]]) -> Iterator[str]:
    yield f"| {' | '.join(COLUMNS)} |"
    yield f"|---|---|{'--:|' * (len(COLUMNS) - 2)}"
    for world, report in found:
        for one in report["policies"]:
            low, high = one["wrong_promotion_95"]
            seconds = [s for s in one.get("cpu_s_by_night", [])[1:] if s is not None]
            cells = [
                world,
                one["policy"],
                str(one["nights"]),
                str(one["seeds"]),
                _points(one["accuracy_by_night"][0]),
                _points(one["accuracy_by_night"][-1]),
                _points(one["oracle_accuracy"]),
                f"{one['wrong_promotion_rate']:.0%} ({low:.0%} to {high:.0%})",
                str(one["promotions"]),
                _points(one["behind_own_best"]),
                _points(one["attack_success"]),
                f"{sum(seconds) / len(seconds):.1f}" if seconds else "-",
                f"{one['cpu_minutes']:.1f}",
            ]
            yield f"| {' | '.join(cells)} |"


def _pace(found: Sequence[tuple[str, Report]]) -> Iterator[str]:
    """What the replay that was wanted would take."""
    nights = sum(one["nights"] * one["seeds"] for _, each in found for one in each["policies"])
    minutes = sum(
        one["cpu_minutes"] * one["seeds"] for _, each in found for one in each["policies"]
    )
    hours = minutes / nights * 90 * 20 / 60
    yield f"At this pace, 90 nights of one policy with 20 seeds take {hours:.1f} hours of one core."
    for world, report in found:
        for one in report["policies"]:
            seconds = one.get("cpu_s_by_night", [])
            if one["policy"] == OURS and len(seconds) > 2 and None not in (seconds[1], seconds[-2]):
                yield (
                    f"In world `{world}` night 1 took {seconds[1]:.1f} CPU s, night "
                    f"{len(seconds) - 2} took {seconds[-2]:.1f}; a life began with "
                    f"{_begins(report):,} labels and ended with {one['labels']:,.0f}."
                )


def _begins(report: Report) -> int:
    world = report["settings"]["world"]
    return int(world["seed_rows"] + world["holdout_rows"])


def _targets(found: Sequence[tuple[str, Report]]) -> Iterator[str]:
    yield "## Targets of `ours`"
    yield ""
    yield "| world | nights | lives | target | measured | bound | result |"
    yield "|---|--:|--:|---|--:|--:|---|"
    for world, report in found:
        for one in report["policies"]:
            if one["policy"] == OURS:
                for target in map(shown, targets(one)):
                    cells = [
                        *(world, str(one["nights"]), str(one["seeds"]), target["says"]),
                        *(target["measured"], target["bound"], target["result"]),
                    ]
                    yield f"| {' | '.join(cells)} |"


def _held(found: Sequence[tuple[str, Report]]) -> Iterator[str]:
    yield "## What kept `ours` from promoting"
    yield ""
    yield "Nights of all lives, by the rule that refused or else the first that could not tell."
    yield ""
    yield "| world | nights | rules |"
    yield "|---|--:|---|"
    for world, report in found:
        for one in report["policies"]:
            if one["policy"] == OURS:
                rules = ", ".join(
                    f"`{rule}` {count}" for rule, count in one.get("held_by", {}).items()
                )
                yield f"| {world} | {one['nights']} | {rules or '-'} |"


def _commands(found: Sequence[tuple[str, Report]]) -> Iterator[str]:
    yield "## Commands"
    yield ""
    yield "```console"
    for world, report in found:
        yield f"$ {command(world, report)}"
    yield "$ python -m benchmarks.replay --write"
    yield "```"
    yield ""


def _points(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _cpu() -> str:
    """The processor's name and how many cores are there."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else sys.platform}, {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
