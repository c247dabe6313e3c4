"""The pictures of a replay: accuracy by night beside the oracle, and a table of what it came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from flywheel import reports
from flywheel.replay.policies import OURS, POLICIES
from flywheel.replay.targets import Target, targets
from flywheel.reports import svg
from flywheel.reports.formatting import NOT_MEASURED, number, percent

COLOURS = 10
"""Kinds of line that the style sheet has."""


def page(facts: Mapping[str, Any]) -> str:
    """One HTML page that loads nothing; ``facts`` are those of ``report.json``."""
    found = facts["policies"]
    return reports.render(
        "replay.html",
        facts=facts,
        world=facts["settings"]["world"],
        policies=found,
        targets=[
            shown(target) for one in found if one["policy"] == OURS for target in targets(one)
        ],
        says={one["policy"]: POLICIES[one["policy"]].says for one in found},
        kinds={one["policy"]: _kind(place) for place, one in enumerate(found)},
        curves=curves(found),
        wrong=wrong(found),
    )


def shown(target: Target) -> dict[str, str]:
    """A target in words."""
    missed, more = target.missed_by, "at least " if target.or_more else ""
    result = "met"
    if missed is None:
        result = NOT_MEASURED
    elif missed:
        result = f"missed by {more}{_size(target, missed, missing=True)}"
    return {
        "name": target.name,
        "says": target.says,
        "measured": NOT_MEASURED
        if target.measured is None
        else more + _size(target, target.measured),
        "bound": f"{target.side} {_size(target, target.bound)}",
        "result": result,
    }


def _size(target: Target, value: float, *, missing: bool = False) -> str:
    if target.unit == "nights":
        return f"{value:g}"
    if target.unit == "points" or missing:
        return f"{number(100 * value, 1)} points"
    return percent(value)


def curves(found: Sequence[Mapping[str, Any]]) -> Markup | None:
    """The champion's true accuracy after each night, with intervals over the seeds."""
    values = [v for one in found for v in _levels(one) if v is not None]
    if not values:
        return None
    nights = max(one["nights"] for one in found)
    wide = svg.around(values)
    up = svg.Scale(max(0.0, wide.low), min(1.0, wide.high), flip=True)
    across = svg.Scale(0, max(1, nights - 1))
    body = []
    for tick in svg.ticks(up.low, up.high, most=6):
        body.append(svg.line(0, up(tick), 100, up(tick), "grid"))
        body.append(svg.label(percent(tick, 0), 0, up(tick), right=-8, down=4, anchor="end"))
    for night in svg.ticks(0, nights - 1, most=8):
        body.append(svg.label(f"{night:g}", across(night), 100, down=18, anchor="middle"))
    body += _line(found[0]["oracle_by_night"], across, up, "level oracle")
    for place, one in enumerate(found):
        body += _line(one["accuracy_by_night"], across, up, _kind(place))
        body += _reaches(one, across, up, _kind(place))
    body.append(svg.label("night", 50, 100, down=36, anchor="middle"))
    return svg.plot("True accuracy of the champion by night", body, name="curves", height=380)


def _levels(one: Mapping[str, Any]) -> list[float | None]:
    return [*one["accuracy_by_night"], *one["oracle_by_night"]]


def _line(
    values: Sequence[float | None], across: svg.Scale, up: svg.Scale, kind: str
) -> list[Markup]:
    known = [(across(n), up(value)) for n, value in enumerate(values) if value is not None]
    return svg.path(known, kind)


def _reaches(one: Mapping[str, Any], across: svg.Scale, up: svg.Scale, kind: str) -> list[Markup]:
    """Intervals on a few nights; with one life there are none."""
    if one["seeds"] < 2:
        return []
    step = max(1, one["nights"] // 6)
    ends = zip(one["accuracy_by_night"], one["accuracy_95_by_night"], strict=True)
    return [
        svg.line(across(n), _within(up, low), across(n), _within(up, high), f"{kind} reach")
        for n, (mean, (low, high)) in enumerate(ends)
        if mean is not None and n % step == step - 1
    ]


def _within(scale: svg.Scale, value: float) -> float:
    return scale(min(scale.high, max(scale.low, value)))


def wrong(found: Sequence[Mapping[str, Any]]) -> Markup | None:
    """Lives with a wrong promotion, in their intervals, beside the 5 % that the gate grants."""
    if not found:
        return None
    across = svg.Scale(0, 1)
    body = [svg.line(across(0.05), 0, across(0.05), 100, "goal")]
    for tick in (0, 0.25, 0.5, 0.75, 1):
        body.append(svg.label(percent(tick, 0), across(tick), 100, down=18, anchor="middle"))
    for place, one in enumerate(found):
        middle = 100 * (place + 0.5) / len(found)
        low, high = one["wrong_promotion_95"]
        share = one["wrong_promotion_rate"]
        body.append(svg.label(one["policy"], 0, middle, right=-130, down=5, kind="name"))
        body.append(svg.line(across(low), middle, across(high), middle, f"{_kind(place)} reach"))
        body.append(svg.dot(across(share), middle, _kind(place)))
    title = "Lives with a wrong promotion, of all lives; the line is at 5 %"
    return svg.plot(title, body, name="wrong", height=34 * len(found) + 32)


def _kind(place: int) -> str:
    return f"line-{place % COLOURS}"
