"""The page of nights and its drawing, made from what was measured."""

# the page has one sentence a line
# ruff: noqa: E501

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from benchmarks import PAGES

Found = Mapping[str, Any]
LIMIT = -0.01
"""What the lower end of the interval must be above for ``champion`` to be the default."""
DRAWS = 3
"""Draws of each night asked without which nothing is changed: the interval does not see them."""
_SECONDS = ("cpu_s", "wall_s", "steps_cpu_s")


def summary(cells: Sequence[Found]) -> dict[str, Any]:
    """The figures of each night of which both arms were asked, and of all of them together.

    Intervals are of 95 %, by the normal approximation over holdout rows, each with the mean of its
    draws: they say how the holdout's rows vary, and not how draws do. A ``gain`` is the champion's
    accuracy less the base's, row by row.
    """
    known = {(c["seed"], c["arm"], c["history"]): c for c in cells if c["asked"]}
    # the first night of both is the same
    first = {(seed, "base", h): c for (seed, _, h), c in known.items() if c["replayed"] == 0}
    known = {**first, **known}
    histories = sorted({history for _, _, history in known})
    nights: list[dict[str, Any]] = []
    every: list[list[float]] = []
    for history in histories:
        seeds = sorted(
            seed
            for seed in {key[0] for key in known}
            if all((seed, arm, history) in known for arm in ("base", "champion"))
        )
        if not seeds:
            continue
        pairs = [(known[s, "base", history], known[s, "champion", history]) for s in seeds]
        gains = [_less(warm["right"], cold["right"]) for cold, warm in pairs]
        if pairs[0][1]["replayed"]:
            every += gains
        nights.append(
            {
                "history": history,
                "seeds": len(seeds),
                "base": _arm([cold for cold, _ in pairs]),
                "champion": _arm([warm for _, warm in pairs]),
                "gain": _interval(gains),
                "gain_by_seed": [round(statistics.mean(gain), 4) for gain in gains],
            }
        )
    told: dict[str, Any] = {
        "nights": nights,
        "holdout_rows": max((len(c["right"]) for c in known.values()), default=0),
    }
    if every:
        gain = _interval(every)
        enough = min(night["seeds"] for night in nights) >= DRAWS
        told["gain"] = gain
        told["default"] = "champion" if enough and gain[1] > LIMIT else "base"
    return told


def _arm(cells: Sequence[Found]) -> dict[str, Any]:
    return {
        "rows": round(statistics.mean(c["rows"] for c in cells)),
        **{name: round(statistics.median(c[name] for c in cells), 1) for name in _SECONDS},
        "accuracy": _interval([[float(bit) for bit in c["right"]] for c in cells]),
    }


def _less(ours: str, theirs: str) -> list[float]:
    return [float(one) - float(other) for one, other in zip(ours, theirs, strict=True)]


def _interval(draws: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """Mean, low and high of the rows' means over draws."""
    rows = [statistics.mean(row) for row in zip(*draws, strict=True)]
    mean = statistics.mean(rows)
    half = 1.96 * statistics.stdev(rows) / math.sqrt(len(rows))
    return round(mean, 4), round(mean - half, 4), round(mean + half, 4)


def table(found: Found) -> str:
    """One line a night, as Markdown: CPU seconds, accuracies, and their difference in points."""
    lines = [
        "| labels | draws | rows trained, base / champion | CPU s | wall s | accuracy, base | champion | difference, points |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for night in found["nights"]:
        cold, warm = night["base"], night["champion"]
        same = cold["rows"] == warm["rows"] and cold["cpu_s"] == warm["cpu_s"]
        lines.append(
            f"| {night['history']:,} | {night['seeds']} | {cold['rows']:,} / {warm['rows']:,} "
            f"| {cold['cpu_s']:.0f} / {warm['cpu_s']:.0f} | {cold['wall_s']:.0f} / {warm['wall_s']:.0f} "
            f"| {_share(cold['accuracy'])} | {_share(warm['accuracy'])} "
            f"| {'the same night' if same else _points(night['gain'])} |"
        )
    return "\n".join(lines)


def _share(interval: Sequence[float]) -> str:
    mean, low, high = interval
    return f"{mean:.3f} ({low:.3f} to {high:.3f})"


def _points(interval: Sequence[float]) -> str:
    mean, low, high = (100 * value for value in interval)
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"


def verdict(found: Found) -> str:
    """What it says of the default, in words."""
    last = found["nights"][-1]
    times = last["base"]["cpu_s"] / last["champion"]["cpu_s"]
    rule = f"above {100 * LIMIT:+.0f} point"
    shown = found["gain"][1] > LIMIT
    draws = min(night["seeds"] for night in found["nights"])
    few = f", {'but' if shown else 'and'} of some nights there are fewer than {DRAWS} draws"
    return (
        f"A night with {last['history']:,} labels of which {found['step']} are new costs {times:.1f} "
        f"times less CPU time from the champion ({last['champion']['cpu_s']:.0f} s against "
        f"{last['base']['cpu_s']:.0f} s, loading the base included). Over all nights that went on, its "
        f"accuracy less the base's is {_points(found['gain'])} points, and in that last night "
        f"{_points(last['gain'])}; the first interval {'lies' if shown else 'does not lie'} {rule}"
        f"{few if draws < DRAWS else ''}, "
        f"so that `training.start_from` is `{found['default']}` by default."
    )


def page(found: Found) -> str:
    """The page, as Markdown."""
    draws = max(night["seeds"] for night in found["nights"])
    return "\n".join(
        [
            "# What a night costs as labels come in",
            "",
            f"`python -m benchmarks.nights --write` made this page from what it had measured: the default data, {found['step']} new labels a night, {found['replay']:g} replayed label for each new one, up to {draws} {'draw' if draws == 1 else 'draws'} of which labels come in when, epochs and steps as the use case says, each night in a process of its own with one thread.",
            "From the base a night learns from all labels; from the champion it goes on from the adapter of the night before, every night since the first, without a full training in between.",
            "",
            table(found),
            "",
            "![CPU seconds and accuracy of a night by labels, from the base and from the champion](nights.svg)",
            "",
            verdict(found),
            "",
            f"Rows trained follow from the settings; seconds are medians over draws on this machine, and it did other work beside: CPU seconds bear that better than wall seconds, and not wholly, where two threads share a core. Accuracies are on {found['holdout_rows']} holdout rows; intervals (95 %) are over these rows and say nothing of other draws of labels, of which there were few.",
            "The rule for the default (`benchmarks/nights.py`) was fixed before measuring.",
            "",
            "Not measured: other ratios of replay, learning rates of their own for nights that go on, `training.full_every`, other data, a GPU.",
            "",
        ]
    )


def draw(found: Found, path: Path) -> None:
    """CPU seconds, and accuracy with its interval, by labels."""
    style: Any = {"svg.hashsalt": "nights", "svg.fonttype": "none", "font.size": 9}
    with matplotlib.rc_context(style):
        drawn, (cost, worth) = pyplot.subplots(1, 2, figsize=(8, 3), layout="constrained")
        at = [night["history"] for night in found["nights"]]
        for arm, colour, mark in (("base", "#b3541e", "o"), ("champion", "#1f5f8b", "s")):
            told = [night[arm] for night in found["nights"]]
            name = f"from the {arm}"
            cost.plot(at, [t["cpu_s"] for t in told], color=colour, marker=mark, label=name)
            mean, low, high = zip(*(t["accuracy"] for t in told), strict=True)
            worth.plot(at, mean, color=colour, marker=mark, label=name)
            worth.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
        cost.set_ylim(bottom=0)
        cost.set_title("CPU seconds of a night's training")
        worth.set_title("accuracy, with 95 % interval")
        for axes in (cost, worth):
            axes.set_xlabel("labels")
            axes.spines[["top", "right"]].set_visible(False)
        cost.legend(frameon=False)
        drawn.savefig(path, metadata={"Date": None, "Creator": None}, dpi=110)
        pyplot.close(drawn)


def write(folder: Path, found: Found, cells: Sequence[Found]) -> None:
    """Figures and cells into the folder, the page and its drawing into docs."""
    told = json.loads(json.dumps({**found, "cells": list(cells)}))
    (folder / "nights.json").write_text(json.dumps(told, indent=1) + "\n")
    (PAGES / "nights.md").write_text(page(told))
    draw(told, PAGES / "nights.svg")
