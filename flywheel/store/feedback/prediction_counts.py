"""How much is asked of a use case."""

from __future__ import annotations

from datetime import datetime, timedelta

from flywheel.store.warehouse import Store

WINDOW = timedelta(days=30)

_ANSWERED = """
SELECT count(*), epoch_us(min(predicted_at))
FROM predictions
WHERE use_case = $use_case AND predicted_at > $since AND predicted_at <= $until
"""


def answers_per_day(store: Store, use_case: str, *, until: datetime) -> float | None:
    """Mean over the 30 days before ``until``, or over those since the first answer in them.

    A use case that is younger than a day is counted as one day old. None without an answer.
    """
    since = until - WINDOW
    ((count, first),) = store.rows(
        _ANSWERED, {"use_case": use_case, "since": since, "until": until}
    )
    if not count:
        return None
    days = (until - store.moment(first)) / timedelta(days=1)
    return float(count / max(1.0, days))
