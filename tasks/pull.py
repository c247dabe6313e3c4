"""Fetch what is new from a use case's sources into its inbox."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from prefect import task

from flywheel import sources
from flywheel.config import Home, SourceConfig, UseCase
from flywheel.errors import ConfigError, FlywheelError, TransientError
from flywheel.ingestion.feedback import group_of
from flywheel.records import Prediction
from flywheel.sources import deletions, revisions
from flywheel.sources.base import names_before
from flywheel.store import open_store, pulled_rows
from tasks import retry_if_transient
from tasks.collect import digest, drop, line, write

log = logging.getLogger(__name__)

_SHOWN = 5
"""Files that are named where they cannot be read; the others are counted."""


@task(retries=2, retry_delay_seconds=10, retry_condition_fn=retry_if_transient)
def pull(use_case: UseCase, home: Home, *, at: datetime) -> dict[str, int]:
    """Bring every source's new rows into the inbox; source → rows.

    A watermark moves after the rows are safely there, so a kill at any point costs a second
    reading and no row. One source that cannot be read does not keep the others from it.

    Raises:
        FlywheelError: sources, or files of them, could not be read; all others were, and what
            could not is read again next time.
    """
    counts: dict[str, int] = {}
    failures: list[FlywheelError] = []
    for source in use_case.sources:
        try:
            counts[source.name], unread = _pull(use_case, home, source, at)
        except FlywheelError as error:
            failures.append(error)
        else:
            failures += [_unread(source, unread)] if unread else []
    if use_case.sources:
        shown = ", ".join(f"{count} from {name}" for name, count in counts.items())
        log.info("pulled %s for %s", shown or "nothing", use_case.name)
    if failures:
        raise _both(failures)
    return counts


def _both(failures: Sequence[FlywheelError]) -> FlywheelError:
    """One error that says all of them; trying again helps where it helps one."""
    if len(failures) == 1:
        return failures[0]
    transient = any(isinstance(error, TransientError) for error in failures)
    kind = TransientError if transient else ConfigError
    return kind(" ".join(str(error) for error in failures))


def _unread(source: SourceConfig, files: Sequence[str]) -> ConfigError:
    """The error that names the files of a source of which the others were read."""
    shown = "; ".join(files[:_SHOWN])
    more = f"; and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
    return ConfigError(
        f"Source {source.name!r}: {len(files)} of its files cannot be read: {shown}{more}. All "
        "others were read. The next pull tries these again; mend or remove them.",
        source=source.name,
    )


def _pull(
    use_case: UseCase, home: Home, source: SourceConfig, at: datetime
) -> tuple[int, Sequence[str]]:
    """New rows of a source, and its files that could not be read."""
    mark = home.inbox(use_case.name) / f".{source.name}.watermark"
    watermark = mark.read_text("utf-8") if mark.is_file() else None
    found = sources.read(source, watermark, use_case.label_names)
    for note in found.notes:
        log.warning("source %r: %s", source.name, note)
    rows = _unknown(use_case, home, source, found.rows)
    rows += _deleted(use_case, home, source, found, at)
    if found.answers:
        by_customer = use_case.split.by_customer
        answers = [_prediction(a, source, by_customer=by_customer) for a in found.answers]
        with open_store(home.warehouse) as store:
            store.add_predictions(use_case.name, answers)
    if rows:
        name = f"{source.name}-{at:%Y%m%dT%H%M%S}-{digest(rows)}.jsonl"
        drop(mark.parent, name, rows)
    if found.watermark is not None:
        mark.parent.mkdir(parents=True, exist_ok=True)
        write(mark, found.watermark)
    return len(rows), found.unread


def _unknown(
    use_case: UseCase, home: Home, source: SourceConfig, rows: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Those that were neither taken in nor set apart before: exports are read again and again."""
    if not rows:
        return []
    with open_store(home.warehouse) as store:
        known = pulled_rows.known(store, use_case.name, [str(row["feedback_id"]) for row in rows])
        plainly = {name: row for row in rows for name in names_before(source, row)}
        counts_as = source.constants.get("source", source.name)
        before = pulled_rows.known_before(store, use_case.name, counts_as, plainly)
        known |= {str(plainly[name]["feedback_id"]) for name in before}
        heard = [row for row in rows if str(row["feedback_id"]) in known]
        stored = pulled_rows.said_at(store, use_case.name, revisions.moments(heard))
        again = revisions.said_again(source.name, heard, stored)
        rows = [_renamed(row, again) for row in rows]
        apart = pulled_rows.set_apart(store, use_case.name, [line(row) for row in rows])
        gone = store.forgotten(use_case.name)
    return [
        row
        for row in rows
        if str(row["feedback_id"]) not in known and line(row) not in apart and not gone.row(row)
    ]


def _deleted(
    use_case: UseCase, home: Home, source: SourceConfig, found: sources.Pulled, at: datetime
) -> list[Mapping[str, Any]]:
    """Rows that withdraw what was taken in before, and is gone where it was said."""
    if not (found.standing or found.standing_labels) or not home.warehouse.exists():
        return []
    counts_as = source.constants.get("source", source.name)
    with open_store(home.warehouse) as store:
        said = pulled_rows.said_of(store, use_case.name, counts_as, list(found.standing))
        labels = pulled_rows.labeled(store, use_case.name, counts_as, list(found.standing_labels))
    rows = [
        *deletions.deleted(source, found.standing, said, found.rows, at),
        *deletions.deleted(source, found.standing_labels, labels, found.rows, at, about="text"),
    ]
    if rows:
        log.info("source %r: %d rows for what was deleted there", source.name, len(rows))
    return [{**row, "source": counts_as} for row in rows]


def _renamed(row: Mapping[str, Any], names: Mapping[str, str]) -> Mapping[str, Any]:
    name = str(row["feedback_id"])
    return {**row, "feedback_id": names[name]} if name in names else row


def _prediction(answer: sources.Answer, source: SourceConfig, *, by_customer: bool) -> Prediction:
    customer = answer.customer_id if by_customer else None
    return Prediction(
        prediction_id=answer.prediction_id,
        text=answer.text,
        group_id=group_of(answer.text, group=answer.group_id, customer=customer),
        customer_id=answer.customer_id,
        label=answer.label,
        probabilities={answer.label: 1.0},
        model_version=source.name,
        digest=source.name,
        predicted_at=answer.answered_at,
    )
