"""The drawings of the build-or-buy page: accuracy of each, and price against volume."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from flywheel.reports import svg
from flywheel.reports.formatting import at, known, number, percent

ROW_PX = 34
POINTS = 60
Facts = Mapping[str, Any]


def accuracies(vendors: Sequence[Facts]) -> Markup | None:
    """Accuracy of our champion and of each vendor on the holdout, as dots in their intervals."""
    rows: list[tuple[str, float, float, float, str]] = []
    for vendor in vendors:
        found = vendor["comparison"]
        if found and not rows:
            own = (found["our_accuracy"], found["our_low"], found["our_high"])
            rows.append(("champion", *own, "ours"))
        holdout = vendor["holdout"]
        if holdout["accuracy"] is not None:
            ends = (holdout["accuracy"], holdout["low"], holdout["high"])
            rows.append((vendor["name"], *ends, "theirs"))
    if not rows:
        return None
    wide = svg.around([value for row in rows for value in row[1:4]])
    body = []
    for place in svg.ticks(max(0.0, wide.low), min(1.0, wide.high)):
        x = wide(place)
        body.append(svg.line(x, 0, x, 100, "grid"))
        body.append(svg.label(percent(place, 0), x, 100, down=18, anchor="middle"))
    for index, (name, value, low, high, kind) in enumerate(rows):
        y = 100 * (index + 0.5) / len(rows)
        mark = svg.dot if kind == "ours" else svg.square
        body += [
            svg.label(name, 0, y, right=-12, down=4, anchor="end", kind="name plain"),
            svg.line(wide(low), y, wide(high), y, f"reach {kind}"),
            mark(wide(value), y, kind),
            svg.label(percent(value), 100, y, right=10, down=4, kind="value"),
        ]
    height = 32 + ROW_PX * len(rows)
    return svg.plot("Accuracy on the holdout", body, name="contenders", height=height)


def prices(facts: Facts) -> Markup | None:
    """Price of a thousand answers against answers a day, both on scales of powers of ten."""
    cost = known(facts["machine_cost_per_hour"])
    capacity = known(at(facts, "ours", "capacity_per_day"))
    offered = [
        (vendor["name"], price)
        for vendor in facts["vendors"]
        if (price := known(vendor["price"])) is not None and price > 0
    ]
    if cost is None or capacity is None or not offered:
        return None
    return _curves(24_000 * cost, capacity, offered)


def _curves(day: float, capacity: float, offered: Sequence[tuple[str, float]]) -> Markup:
    """``day`` is a thousand times what a machine costs a day, ``capacity`` what it answers."""
    evens = [day / price for _, price in offered]
    first = math.floor(math.log10(max(1.0, min([*evens, capacity]) / 10)))
    last = max(first + 1, math.ceil(math.log10(max([*evens, capacity]))))
    across = svg.Scale(first, last)
    volumes = [10 ** (first + (last - first) * i / POINTS) for i in range(POINTS + 1)]
    own = [(v, day * math.ceil(v / capacity) / v) for v in volumes]
    held = [price for _, price in own] + [price for _, price in offered]
    up = svg.Scale(math.floor(math.log10(min(held))), math.ceil(math.log10(max(held))), flip=True)
    body = []
    for power in range(first, last + 1):
        anchor = "start" if power == first else "end" if power == last else "middle"
        body.append(svg.line(across(power), 0, across(power), 100, "grid"))
        body.append(svg.label(number(10**power), across(power), 100, down=18, anchor=anchor))
    for power in range(int(up.low), int(up.high) + 1):
        body.append(svg.line(0, up(power), 100, up(power), "grid"))
        said = number(10.0**power, max(0, -power))
        body.append(svg.label(said, 0, up(power), right=-8, down=4, anchor="end"))
    body += svg.path([(across(math.log10(v)), up(math.log10(p))) for v, p in own], "ours")
    for name, price in offered:
        y = up(math.log10(price))
        body.append(svg.line(0, y, 100, y, "theirs"))
        body.append(svg.label(name, 100, y, right=-4, down=-6, anchor="end"))
    return svg.plot(
        "Price of a thousand answers against answers a day", body, name="prices", height=300
    )
