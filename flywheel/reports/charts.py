"""What the page draws, each from a piece of the facts; None where there is nothing to draw."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from flywheel.reports import svg
from flywheel.reports.formatting import (
    TIMES,
    at,
    known,
    percent,
    score_ends,
    score_name,
    short_day,
    signed,
)
from flywheel.reports.formatting import wealth as times

Facts = Mapping[str, Any]
ROW = 34
"""Height of one contender, in pixels; its name stands in a margin of `NAMES` pixels."""
NAMES = 130
_BASELINES = {
    "majority": "commonest label",
    "tfidf_logistic": "word weights",
    "grey_logistic": "grey pixels",
    "zero_shot": "untrained base",
    "first_sentence": "first sentence",
    "lead_3": "first three",
}
_SCORES = {"accuracy": "Accuracy", "rouge_l": "ROUGE-L"}


def contenders(holdout: Facts | None) -> Markup | None:
    """The score of each contender as a dot in its interval, and of the baselines."""
    name_of_score = score_name(holdout)
    rows: list[tuple[str, float, float | None, float | None, str]] = []
    for who, kind in (("challenger", "ours"), ("champion", "theirs")):
        score = known(at(holdout, who, name_of_score))
        if score is not None:
            rows.append((who, score, *score_ends(holdout, who), kind))
    for name, value in (at(holdout, "baselines") or {}).items():
        score = known(value)
        if score is not None:
            said = _BASELINES.get(name, str(name).replace("_", " "))
            rows.append((said, score, None, None, "plain"))
    if not rows:
        return None
    ends = [end for _, *three, _ in rows for end in three if isinstance(end, float)]
    wide = svg.around(ends)
    scale = svg.Scale(max(0.0, wide.low), min(1.0, wide.high))
    body = _x_axis(scale, svg.ticks(scale.low, scale.high, most=4), share=True)
    for index, (name, score, low, high, kind) in enumerate(rows):
        middle = 100 * (index + 0.5) / len(rows)
        body.append(svg.label(name, 0, middle, right=-NAMES, down=5, kind=f"name {kind}"))
        if low is not None and high is not None:
            body.append(svg.line(scale(low), middle, scale(high), middle, f"reach {kind}"))
        body.append(_mark(kind)(scale(score), middle, kind))
        body.append(svg.label(percent(score), 100, middle, right=12, down=5, kind="value"))
    title = f"{_SCORES[name_of_score]} on the holdout: " + "; ".join(
        f"{name} {percent(score)}"
        + ("" if low is None or high is None else f" ({percent(low)} to {percent(high)})")
        for name, score, low, high, _ in rows
    )
    return svg.plot(title, body, name="contenders", height=ROW * len(rows) + 32)


def wealth(evidence: Facts | None) -> Markup | None:
    """How the evidence grew over the nights, against what a promotion needs."""
    nights = at(evidence, "nights") or ()
    known_nights = [
        (night.get("as_of"), found)
        for night in nights
        if (found := known(night.get("log_wealth"))) is not None
    ]
    threshold = known(at(evidence, "threshold"))
    if not known_nights or threshold is None:
        return None
    values = [0.0, *(value for _, value in known_nights)]
    low, high = min(values), max(*values, threshold)
    room = 0.1 * (high - low)
    across = svg.Scale(0, len(values) - 1)
    up = svg.Scale(low - room, high + room, flip=True)
    body = []
    step = max(1, math.ceil((high - low) / math.log(10) / 4))
    first, last = math.ceil(up.low / math.log(10)), math.floor(up.high / math.log(10))
    for power in range(first - first % step, last + 1, step):
        where = power * math.log(10)
        if up.low <= where <= up.high:
            body.append(svg.line(0, up(where), 100, up(where), "grid"))
            body.append(svg.label(_power(power), 0, up(where), right=-8, down=4, anchor="end"))
    body.append(svg.line(0, up(threshold), 100, up(threshold), "goal"))
    said = f"enough to promote: {times(threshold)}"
    body.append(svg.label(said, 0, up(threshold), right=2, down=-6, kind="goal-name"))
    places = [(across(index), up(value)) for index, value in enumerate(values)]
    body += svg.path(places, "ours")
    body += [svg.dot(x, y, "ours") for x, y in places[1:]]
    body += _ends("start", short_day(known_nights[-1][0]))
    title = (
        f"Evidence for the challenger over {len(known_nights)} nights: the stake now stands at "
        f"{times(values[-1])}; {times(threshold)} is needed"
    )
    return svg.plot(title, body, name="wealth", height=230)


def gain(low: object, value: object, high: object) -> Markup | None:
    """One gain in its interval, about the line of no gain."""
    ends = known(low), known(high)
    if ends[0] is None or ends[1] is None:
        return None
    middle = known(value)
    wide = svg.around([*ends, 0.0])  # type: ignore[list-item]
    body = _x_axis(wide, svg.ticks(wide.low, wide.high, most=5), share=False)
    body.append(svg.line(wide(0), 0, wide(0), 100, "zero"))
    body.append(svg.line(wide(ends[0]), 50, wide(ends[1]), 50, "reach ours"))
    if middle is not None:
        body.append(svg.dot(wide(middle), 50, "ours"))
    title = f"Gain over the champion on fresh rows: from {signed(low)} to {signed(high)} points"
    return svg.plot(title, body, name="gain", height=66)


def forest(slices: Sequence[Facts] | None) -> list[Markup | None]:
    """One drawing for each slice, all on one scale; None where its gain was not measured."""
    scale = _forest_scale(slices)
    drawn: list[Markup | None] = []
    for one in slices or ():
        low, middle, high = (known(one.get(name)) for name in ("low", "gain", "high"))
        kind = "worse" if one.get("worse") is True else "ours"
        body = [svg.line(scale(0), 0, scale(0), 100, "zero")]
        if low is not None and high is not None:
            body.append(svg.line(scale(low), 50, scale(high), 50, f"reach {kind}"))
        if middle is not None:
            body.append(_mark(kind)(scale(middle), 50, kind))
        drawn.append(svg.cell(body, height=22) if middle is not None else None)
    return drawn


def forest_head(slices: Sequence[Facts] | None) -> Markup:
    """Which side of the line is which."""
    zero = _forest_scale(slices)(0)
    return svg.cell(
        [
            svg.label("worse", zero, 100, right=-8, down=-5, anchor="end"),
            svg.line(zero, 20, zero, 100, "zero"),
            svg.label("better", zero, 100, right=8, down=-5),
        ]
    )


def reliability(facts: Facts | None) -> Markup | None:
    """How often answers were right against how sure they were."""
    series = []
    for who, kind in (("champion", "theirs"), ("challenger", "ours")):
        points = [
            (sure, right, known(one.get("rows")) or 0.0)
            for one in at(facts, who) or ()
            if (sure := known(one.get("confidence"))) is not None
            and (right := known(one.get("accuracy"))) is not None
        ]
        if points:
            series.append((kind, sorted(points)))
    if not series:
        return None
    across, up = svg.Scale(0, 1), svg.Scale(0, 1, flip=True)
    body = _x_axis(across, [0, 0.25, 0.5, 0.75, 1], share=True)
    for tick in (0, 0.25, 0.5, 0.75, 1):
        body.append(svg.line(0, up(tick), 100, up(tick), "grid"))
        body.append(svg.label(percent(tick, 0), 0, up(tick), right=-8, down=4, anchor="end"))
    body.append(svg.line(0, 100, 100, 0, "diagonal"))
    most = max(rows for _, points in series for _, _, rows in points) or 1.0
    for kind, points in series:
        places = [(across(sure), up(right)) for sure, right, _ in points]
        body += svg.path(places, kind)
        for (x, y), (_, _, rows) in zip(places, points, strict=True):
            size = 3 + 6 * math.sqrt(rows / most)
            if kind == "ours":
                body.append(svg.dot(x, y, kind, radius=size))
            else:
                body.append(svg.square(x, y, kind, side=1.7 * size))
    body.append(svg.label("sure of the answer", 50, 100, down=36, anchor="middle"))
    body.append(svg.label("right", 0, 0, right=4, down=-8))
    title = "Reliability: share of answers that were right, by how sure the model was of them"
    return svg.plot(title, body, name="reliability", height=330)


def history(nights: Sequence[Facts] | None) -> Markup | None:
    """The score of challenger and champion on the holdout by night; promotions are ringed."""
    rows = nights or ()
    written = any(known(night.get("challenger_rouge_l")) is not None for night in rows)
    score = "rouge_l" if written else "accuracy"
    series = {
        kind: [
            (index, value)
            for index, night in enumerate(rows)
            if (value := known(night.get(f"{who}_{score}"))) is not None
        ]
        for who, kind in (("champion", "theirs"), ("challenger", "ours"))
    }
    values = [value for points in series.values() for _, value in points]
    if not values:
        return None
    wide = svg.around(values, share=0.15)
    up = svg.Scale(max(0.0, wide.low), min(1.0, wide.high), flip=True)
    across = svg.Scale(0, max(1, len(rows) - 1))
    body = []
    for tick in svg.ticks(up.low, up.high, most=5):
        body.append(svg.line(0, up(tick), 100, up(tick), "grid"))
        body.append(svg.label(_share(tick), 0, up(tick), right=-8, down=4, anchor="end"))
    body += _steps(series["theirs"], across, up)
    body += [svg.square(across(i), up(v), "theirs", side=6) for i, v in series["theirs"]]
    for index, value in series["ours"]:
        if rows[index].get("outcome") == "promoted":
            body.append(svg.dot(across(index), up(value), "ring", radius=8))
        body.append(svg.dot(across(index), up(value), "ours", radius=4))
    body += _ends(short_day(rows[0].get("as_of")), short_day(rows[-1].get("as_of")))
    title = f"Accuracy on the holdout over {len(rows)} nights, challenger and champion"
    return svg.plot(title, body, name="history", height=230)


def bar(value: object, among: Iterable[object]) -> Markup | None:
    """A bar for a number in a table, against the greatest there."""
    size = known(value)
    top = max((number for one in among if (number := known(one)) is not None), default=0.0)
    if size is None or top <= 0:
        return None
    return svg.cell([svg.bar(0, 25, 100 * size / top, 50, "bar")])


# ---- Its parts


def _forest_scale(slices: Sequence[Facts] | None) -> svg.Scale:
    found = [known(one.get(name)) for one in slices or () for name in ("low", "gain", "high")]
    return svg.around([0.0, *(end for end in found if end is not None)])


def _mark(kind: str) -> Any:
    return svg.dot if kind == "ours" else svg.square


def _steps(points: Sequence[tuple[int, float]], across: svg.Scale, up: svg.Scale) -> list[Markup]:
    """A champion answers until the next one does: level, then straight up."""
    corners: list[tuple[float, float]] = []
    for index, value in points:
        if corners:
            corners.append((across(index), corners[-1][1]))
        corners.append((across(index), up(value)))
    return svg.path(corners, "theirs")


def _x_axis(scale: svg.Scale, places: Sequence[float], *, share: bool) -> list[Markup]:
    drawn = []
    for place in places:
        x = scale(place)
        anchor = "start" if x < 4 else "end" if x > 96 else "middle"
        said = _share(place) if share else signed(place, 0 if _whole(100 * place) else 1)
        drawn.append(svg.line(x, 0, x, 100, "grid"))
        drawn.append(svg.label(said, x, 100, down=18, anchor=anchor))
    return drawn


def _ends(first: str, last: str) -> list[Markup]:
    return [
        svg.label(first, 0, 100, down=18),
        svg.label(last, 100, 100, down=18, anchor="end"),
    ]


def _share(value: float) -> str:
    return percent(value, 0 if _whole(100 * value) else 1)


def _whole(value: float) -> bool:
    return abs(value - round(value)) < 1e-6


def _power(power: int) -> str:
    return f"{10**power:,}{TIMES}" if power >= 0 else f"1/{10**-power:,}{TIMES}"
