"""The parts of the holdout on which a challenger must not be worse: by label, length, language, …

Cuts are fixed, so that a row never changes its slice because other rows came.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from flywheel.config import GateConfig
from flywheel.gate.comparison import Pair, on_holdout, worse_p_value
from flywheel.records import Report, Row
from flywheel.stats.paired_tests import paired_difference_interval
from flywheel.text import language_id

SHORT_CHARS, LONG_CHARS = 60, 160
"""Texts shorter than the one are short, from the other on they are long."""


@dataclass(frozen=True)
class Slice:
    """How both did on one slice. ``p_value`` is that of the challenger being as good there."""

    kind: str
    name: str
    rows: int
    gain: float
    low: float
    high: float
    p_value: float
    worse: bool


def slices_of(
    text: str, *, label: str, group_id: str, source: str, given_at: datetime, rules: GateConfig
) -> dict[str, str]:
    """Kind of slice → the slice that a row is in, for the kinds that ``rules`` names."""
    makers: dict[str, Callable[[], str]] = {
        "label": lambda: label,
        "language": lambda: language_id.likeliest(text),
        "length": lambda: _length(text),
        "source": lambda: source,
        "month": lambda: f"{given_at:%Y-%m}",
        "segment": lambda: _segment(group_id, rules.segments),
    }
    return {kind: makers[kind]() for kind in rules.slices}


def compare(
    challenger: Report, champion: Report, rows: Mapping[str, Row], rules: GateConfig
) -> tuple[Slice, ...]:
    """Compare both on every slice with at least ``min_slice_rows`` rows, by kind and name.

    A slice is worse when the chance that the challenger is as good there is at most
    ``slice_alpha`` divided by the number of slices (Bonferroni): one that is worse nowhere is
    refused with at most that chance.
    """
    pairs = dict(
        zip(
            challenger.example_ids,
            on_holdout(
                challenger,
                champion,
                rows,
                by_row=rules.unit == "row",
                tie_within=rules.tie_within,
            ),
            strict=True,
        )
    )
    members: dict[tuple[str, str], list[Pair]] = defaultdict(list)
    for name, pair in pairs.items():
        if name in rows:
            for kind, slice_name in rows[name].slices.items():
                members[kind, slice_name].append(pair)
    large = {key: own for key, own in members.items() if len(own) >= rules.min_slice_rows}
    return tuple(
        _slice(kind, name, own, alpha=rules.slice_alpha / len(large))
        for (kind, name), own in sorted(large.items())
    )


def _slice(kind: str, name: str, pairs: Sequence[Pair], *, alpha: float) -> Slice:
    wins, losses = sum(p.gain > 0 for p in pairs), sum(p.gain < 0 for p in pairs)
    low, high = paired_difference_interval(wins, losses, len(pairs))
    p_value = worse_p_value(pairs)
    return Slice(
        kind=kind,
        name=name,
        rows=len(pairs),
        gain=(wins - losses) / len(pairs),
        low=low,
        high=high,
        p_value=p_value,
        worse=losses > wins and p_value <= alpha,
    )


def _length(text: str) -> str:
    if len(text) < SHORT_CHARS:
        return "short"
    return "long" if len(text) >= LONG_CHARS else "medium"


def _segment(group_id: str, segments: Mapping[str, str]) -> str:
    return next((name for name, like in segments.items() if re.search(like, group_id)), "other")
