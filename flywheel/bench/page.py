"""The hub's page: learning curves, a table to sort, cost against quality, and who wins where."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict

from markupsafe import Markup

from flywheel import reports
from flywheel.bench import results
from flywheel.bench.grid import Grid
from flywheel.bench.results import Result, Row
from flywheel.reports import svg
from flywheel.reports.formatting import percent

COLOURS = 10
"""Kinds of line that the page's style sheet has."""


def page(grid: Grid, found: Sequence[Result], *, cells: int) -> str:
    """One HTML page that loads nothing. What has no result yet is left out and counted."""
    rows = results.table(found)
    names = list(dict.fromkeys(row.entrant for row in rows))
    price = grid.machine_cost_per_hour
    return reports.render(
        "bench.html",
        grid=grid.model_dump(mode="json"),
        done=len(found),
        cells=cells,
        rows=[
            asdict(row)
            | {
                "training_price": row.training_price(price),
                "answers_price": row.answers_price(price),
            }
            for row in rows
        ],
        names=names,
        measure=_measure(rows),
        curves=curves(rows, names),
        cost=cost(rows, names, price),
        crossings=crossings(found, rows),
        choices=choices(grid, found),
        holdout_error=results.holdout_error(found),
        holdout_rows=max((r.holdout_rows for r in found), default=0),
        seeds=max((row.accuracy.seeds for row in rows), default=0),
    )


def curves(rows: Sequence[Row], names: Sequence[str]) -> Markup | None:
    """The score by training rows, doublings evenly spaced; what needs no rows is a level line."""
    trained = [row for row in rows if row.rows > 0]
    if not trained:
        return None
    ends = [end for row in rows for end in _reach(row)]
    wide = svg.around(ends)
    up = svg.Scale(max(0.0, wide.low), min(1.0, wide.high), flip=True)
    sizes = sorted({row.rows for row in trained})
    across = svg.Scale(math.log(sizes[0]) - 0.1, math.log(sizes[-1]) + 0.1)
    body = []
    for tick in svg.ticks(up.low, up.high, most=6):
        body.append(svg.line(0, up(tick), 100, up(tick), "grid"))
        body.append(svg.label(percent(tick, 0), 0, up(tick), right=-8, down=4, anchor="end"))
    for size in sizes:
        x = across(math.log(size))
        body.append(svg.label(str(size), x, 100, down=18, anchor="middle"))
    for name in names:
        kind = _kind(names, name)
        own = sorted((row for row in rows if row.entrant == name), key=lambda row: row.rows)
        if own[0].rows == 0:
            level = up(own[0].accuracy.mean)
            body.append(svg.line(0, level, 100, level, f"{kind} level"))
            continue
        places = [(across(math.log(row.rows)), up(row.accuracy.mean)) for row in own]
        body += svg.path(places, kind)
        for row, (x, y) in zip(own, places, strict=True):
            low, high = _reach(row)
            body.append(svg.line(x, up(low), x, up(high), f"{kind} reach"))
            body.append(svg.dot(x, y, kind, radius=4))
    body.append(svg.label("training labels", 50, 100, down=36, anchor="middle"))
    return svg.plot(
        f"{_measure(rows)} by number of training labels", body, name="curves", height=380
    )


def cost(rows: Sequence[Row], names: Sequence[str], per_hour: float | None) -> Markup | None:
    """The score with the most labels against what answers cost, on a logarithmic scale.

    The cost is the price of a thousand where a machine's price is known, or else the milliseconds
    of one.
    """
    last = {
        name: max((r for r in rows if r.entrant == name), key=lambda r: r.rows) for name in names
    }
    if not last:
        return None
    wide = svg.around([row.accuracy.mean for row in last.values()])
    up = svg.Scale(max(0.0, wide.low), min(1.0, wide.high), flip=True)
    costs = {name: row.answers_price(per_hour) or row.answer_ms for name, row in last.items()}
    logs = [math.log10(value) for value in costs.values()]
    across = svg.around(logs, least=0.2)
    what, unit = (
        ("time of one answer", " ms") if per_hour is None else ("price of 1,000 answers", "")
    )
    body = []
    for tick in svg.ticks(up.low, up.high, most=5):
        body.append(svg.line(0, up(tick), 100, up(tick), "grid"))
        body.append(svg.label(percent(tick, 0), 0, up(tick), right=-8, down=4, anchor="end"))
    for power in range(math.floor(across.low), math.ceil(across.high) + 1):
        if across.low <= power <= across.high:
            body.append(svg.line(across(power), 0, across(power), 100, "grid"))
            body.append(
                svg.label(f"{10.0**power:g}{unit}", across(power), 100, down=18, anchor="middle")
            )
    for name, row in last.items():
        x, y = across(math.log10(costs[name])), up(row.accuracy.mean)
        body.append(svg.dot(x, y, _kind(names, name), radius=6))
    body.append(svg.label(what, 50, 100, down=36, anchor="middle"))
    return svg.plot(f"{_measure(rows)} against {what}", body, name="cost", height=320)


def crossings(found: Sequence[Result], rows: Sequence[Row]) -> list[str]:
    """The best tuned LLM against each other entrant, a sentence each."""
    tuned = [row for row in rows if row.method in ("qlora", "lora", "dora", "rslora")]
    if not tuned:
        return []
    most = {name: sum(r.entrant == name for r in rows) for name in {r.entrant for r in tuned}}
    first = max(tuned, key=lambda row: (most[row.entrant], row.accuracy.mean)).entrant
    names = dict.fromkeys(row.entrant for row in rows if row.entrant != first)
    return [results.crossover(found, first, name) for name in names]


def choices(grid: Grid, found: Sequence[Result]) -> list[dict[str, str | int]]:
    """Of entrants that had several settings: which were chosen, and on how many draws."""
    several = {one.name: one.settings for one in grid.entrants if len(one.settings) > 1}
    told: list[dict[str, str | int]] = []
    for name, settings in several.items():
        for rows in sorted({r.rows for r in found if r.entrant == name}):
            chosen = [dict(r.setting) for r in found if (r.entrant, r.rows) == (name, rows)]
            told += [
                {
                    "entrant": name,
                    "rows": rows,
                    "setting": ", ".join(f"{key} {value}" for key, value in setting.items()),
                    "draws": chosen.count(setting),
                    "of": len(chosen),
                }
                for setting in settings
            ]
    return told


def _measure(rows: Sequence[Row]) -> str:
    """By what the entrants of one use case are compared, as a heading says it."""
    measure = rows[0].measure if rows else results.ACCURACY
    return measure[0].upper() + measure[1:]


def _reach(row: Row) -> tuple[float, float]:
    seen = row.accuracy
    return (
        seen.mean if seen.low is None else seen.low,
        seen.mean if seen.high is None else seen.high,
    )


def _kind(names: Sequence[str], name: str) -> str:
    return f"line-{list(names).index(name) % COLOURS}"
