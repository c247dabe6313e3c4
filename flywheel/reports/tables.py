"""What stands in the page's tables, each from a piece of the facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flywheel.reports.formatting import (
    at,
    known,
    measure,
    number,
    percent,
    score_ends,
    score_name,
    seconds,
    share_span,
)

Facts = Mapping[str, Any]
MAX_MATRIX = 10
"""More labels are shown as a list of what was mixed up most: a matrix would be unreadable."""
MAX_MIXED = 15

_Measure = tuple[str, str, str, Callable[[object], str]]
_OF_LABELS: tuple[_Measure, ...] = (
    ("accuracy", "Right answers", "more", percent),
    ("weighted_accuracy", "Right answers, weighted to what customers ask", "more", percent),
    ("macro_f1", "Macro-F1 (every label counts the same)", "more", lambda v: number(v, 3)),
    ("log_loss", "Log loss, nats", "less", lambda v: number(v, 3)),
    ("calibration_error", "Calibration error", "less", lambda v: number(v, 3)),
)
_OF_TEXTS: tuple[_Measure, ...] = (
    ("rouge_l", "ROUGE-L (words shared with people's texts, in order)", "more", percent),
    ("rouge_1", "ROUGE-1 (single words)", "more", percent),
    ("rouge_2", "ROUGE-2 (pairs of words)", "more", percent),
    ("accuracy", "Word for word as a person wrote it", "more", percent),
)
_OF_ALL: tuple[_Measure, ...] = (
    ("latency_ms", "Time per answer", "less", lambda v: measure(v, "ms", 1)),
    ("memory_mb", "Peak memory", "less", lambda v: measure(v, "MB")),
    ("adapter_mb", "Adapter on disk", "less", lambda v: measure(v, "MB", 1)),
    ("cost_per_thousand", "Machine cost per 1,000 answers", "less", lambda v: number(v, 4)),
)
_OF = {"accuracy": _OF_LABELS, "rouge_l": _OF_TEXTS}


def measures(holdout: Facts | None) -> list[dict[str, Any]]:
    """One row per measure: what it is, which way is better, and how both contenders did."""
    return [
        {
            "name": said,
            "better": better,
            "values": [
                {
                    "value": write(at(holdout, who, name)),
                    "span": share_span(*score_ends(holdout, who))
                    if name == score_name(holdout) and None not in score_ends(holdout, who)
                    else "",
                }
                for who in ("challenger", "champion")
            ],
        }
        for name, said, better, write in (*_OF[score_name(holdout)], *_OF_ALL)
    ]


def matrix(labels: Sequence[str] | None, counts: object) -> list[dict[str, Any]] | None:
    """One row per gold label, with the share of the row that each answer has; None: unusable."""
    rows = _counts(labels, counts)
    if rows is None or labels is None:
        return None
    return [
        {
            "label": label,
            "total": sum(row),
            "cells": [
                {"count": count, "share": count / sum(row) if sum(row) else 0.0, "right": i == j}
                for j, count in enumerate(row)
            ],
        }
        for i, (label, row) in enumerate(zip(labels, rows, strict=True))
    ]


def mixed_up(labels: Sequence[str] | None, confusion: Facts | None) -> list[dict[str, Any]]:
    """What the challenger mixes up most, most often first, beside how often the champion does."""
    ours, theirs = (_counts(labels, at(confusion, who)) for who in ("challenger", "champion"))
    if ours is None or labels is None:
        return []
    pairs: list[dict[str, Any]] = [
        {
            "gold": gold,
            "answered": answered,
            "challenger": ours[i][j],
            "champion": None if theirs is None else theirs[i][j],
        }
        for i, gold in enumerate(labels)
        for j, answered in enumerate(labels)
        if i != j and ours[i][j]
    ]
    return sorted(pairs, key=lambda pair: -pair["challenger"])[:MAX_MIXED]


def arrivals(data: Facts | None) -> list[tuple[str, Any, str]]:
    """What became of the rows that were read."""
    said = (
        ("read", "Read", "rows in tonight's files and sources"),
        ("ingested", "Taken in", "new and usable"),
        ("duplicate", "Seen before", "the same reaction again"),
        ("quarantined", "Set apart", "could not be used; kept with the reason"),
        ("parked", "Parked", "about an answer that has not arrived yet"),
    )
    return [(name, at(data, key), meaning) for key, name, meaning in said]


def costs(cost: Facts | None) -> list[tuple[str, str]]:
    """Time, memory and money of the night."""
    return [
        ("Training", seconds(at(cost, "train_seconds"))),
        ("Started from", str(at(cost, "started_from") or "not known")),
        ("Holdout and trial", seconds(at(cost, "evaluate_seconds"))),
        ("Speed of training", measure(at(cost, "tokens_per_second"), "tokens/s")),
        ("Peak memory of training", measure(at(cost, "peak_memory_mb"), "MB")),
        ("Machine cost of the night", number(at(cost, "machine_cost"), 2)),
    ]


def _counts(labels: Sequence[str] | None, counts: object) -> list[list[float]] | None:
    """A square of numbers, one row and column per label; None where it is anything else."""
    if not labels or not isinstance(counts, (list, tuple)) or len(counts) != len(labels):
        return None
    if any(not isinstance(row, (list, tuple)) or len(row) != len(labels) for row in counts):
        return None
    rows = [[known(count) for count in row] for row in counts]
    if any(count is None for row in rows for count in row):
        return None
    return [[count or 0.0 for count in row] for row in rows]
