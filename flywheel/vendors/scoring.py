"""How a bought model did on labeled rows, alone and beside our champion on the same ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from flywheel.gate.comparison import Pair, paired
from flywheel.records import Example
from flywheel.records.answers import top
from flywheel.stats.paired_tests import wilson_interval
from flywheel.vendors.reply_cache import Answer


def score(rows: Sequence[Example], answers: Sequence[Answer | None]) -> dict[str, Any]:
    """Count what was right of the answers to ``rows``, in their order.

    ``accuracy`` is the share right of all texts that got a reply; to abstain is not to be right.
    ``accuracy_given`` is that of the labels given alone. Both are None where there are none, and
    ``unanswered`` texts, which got no reply after all tries, count in neither. ``low`` and ``high``
    are the 95 % interval of ``accuracy`` (Wilson).
    """
    got = [(row, a) for row, a in zip(rows, answers, strict=True) if a is not None]
    given = sum(a.label is not None for _, a in got)
    right = sum(a.label == row.label for row, a in got)
    low, high = wilson_interval(right, len(got))
    return {
        "rows": len(rows),
        "unanswered": len(rows) - len(got),
        "abstained": len(got) - given,
        "reasons": dict(Counter(a.reason for _, a in got if a.reason is not None)),
        "right": right,
        "accuracy": right / len(got) if got else None,
        "low": low,
        "high": high,
        "accuracy_given": right / given if given else None,
    }


def compare(
    rows: Sequence[Example],
    answers: Sequence[Answer | None],
    ours: Mapping[str, Mapping[str, float]],
    *,
    by_row: bool,
) -> dict[str, Any] | None:
    """Our champion beside a bought model, on the rows that both answered; None where none are.

    ``gain`` is our accuracy less theirs, in [-1, 1], with its 95 % interval; ``p_better`` is the
    chance of our being that much better by luck, ``p_worse`` of our being that much worse.
    ``ours`` is example_id → probabilities. ``by_row`` counts each row as a piece of evidence of its
    own, otherwise each group.
    """
    pairs, right = [], 0
    for row, answer in zip(rows, answers, strict=True):
        own = ours.get(row.example_id)
        if answer is None or own is None:
            continue
        our_right = top(own) == row.label
        right += our_right
        unit = row.example_id if by_row else row.group_id
        pairs.append(Pair(row.group_id, "", our_right - (answer.label == row.label), unit))
    if not pairs:
        return None
    found = paired(pairs)
    mirrored = paired([Pair(p.group_id, p.source, -p.gain, p.unit) for p in pairs])
    low, high = wilson_interval(right, len(pairs))
    return {
        "rows": found.rows,
        "our_accuracy": right / found.rows,
        "our_low": low,
        "our_high": high,
        "won": found.wins,
        "lost": found.losses,
        "gain": found.gain,
        "low": found.low,
        "high": found.high,
        "p_better": found.p_value,
        "p_worse": mirrored.p_value,
    }


def best(tried: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The setting most accurate on validation; of equals, the one that shows fewer examples."""
    return max(tried, key=lambda one: (one["accuracy"] or 0.0, -one["shots"]))


def settings(rows: Collection[str], answers: Sequence[Answer]) -> int:
    """Under how many settings these rows were ever asked; choosing the best of several flatters."""
    return max(Counter(a.text_id for a in answers if a.text_id in rows).values(), default=0)


def latency(seconds: Sequence[float]) -> dict[str, float] | None:
    """Median and 95th percentile, in milliseconds, of one request at a time; None without any."""
    if not seconds:
        return None
    p50, p95 = np.percentile(1_000 * np.asarray(seconds), [50, 95])
    return {"p50_ms": float(p50), "p95_ms": float(p95), "requests": float(len(seconds))}
