"""What Prometheus is told of nights: how they ended, when, how long the last took, how many rows.

Times are points in time, so that ``time() - …`` goes on growing where no night comes any more. No
label holds anything but the use case, an outcome, or the name of a count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import get_args

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from flywheel.records import NightRecord, Outcome

ROWS = {
    "read": ("feedback_read",),
    "quarantined": ("feedback_quarantined",),
    "training": ("train_examples", "examples_there"),
    "holdout": ("holdout_examples",),
}
"""Name of a count → the facts of a night that hold it, of which it has one."""


def page(use_case: str, nights: Sequence[NightRecord], *, waiting: int, seconds: float) -> bytes:
    """The metrics of a use case in Prometheus' text format.

    ``nights`` are those on record, the oldest first; ``waiting`` are rows that wait for the next;
    ``seconds`` is how long the last one took, from where it was begun or taken up again.
    """
    own = CollectorRegistry()
    counted = _gauge(own, "flywheel_nights", "Nights on record, by how they ended.", "outcome")
    ended = _gauge(
        own,
        "flywheel_night_timestamp_seconds",
        "When the last night was that ended so, in seconds since 1970.",
        "outcome",
    )
    rows = _gauge(
        own, "flywheel_night_rows", "Rows of the last night that did not fail, by what.", "rows"
    )
    counts = Counter(night.outcome for night in nights)
    for outcome in get_args(Outcome):
        counted.labels(use_case, outcome).set(counts[outcome])
    for night in nights:
        ended.labels(use_case, night.outcome).set(night.as_of.timestamp())
    whole = [night.facts for night in nights if not night.failed][-1:]
    for name, facts in ROWS.items():
        for found in [last[fact] for last in whole for fact in facts if fact in last][:1]:
            rows.labels(use_case, name).set(found)
    _gauge(own, "flywheel_night_duration_seconds", "How long the last night took.").labels(
        use_case
    ).set(seconds)
    _gauge(
        own, "flywheel_night_waiting_rows", "Rows of feedback that wait for the next night."
    ).labels(use_case).set(waiting)
    return generate_latest(own)


def _gauge(registry: CollectorRegistry, name: str, told: str, *labels: str) -> Gauge:
    return Gauge(name, told, ["use_case", *labels], registry=registry)
