"""Fetch what is new from a use case's sources into its inbox."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from prefect import task

from flywheel import sources
from flywheel.config import Home, SourceConfig, UseCase
from flywheel.errors import FlywheelError
from flywheel.feedback import text_group
from flywheel.records import Prediction
from flywheel.store import open_store
from tasks import retry_if_transient

log = logging.getLogger(__name__)


@task(retries=2, retry_delay_seconds=10, retry_condition_fn=retry_if_transient)
def pull(use_case: UseCase, home: Home, *, at: datetime) -> dict[str, int]:
    """Bring every source's new rows into the inbox; source → rows.

    A watermark moves after the rows are safely there, so a kill at any point costs a second
    reading and no row. One source that cannot be read does not keep the others from it.

    Raises:
        FlywheelError: a source could not be read; all others were, and its watermark stays.
    """
    counts: dict[str, int] = {}
    failures: list[FlywheelError] = []
    for source in use_case.sources:
        try:
            counts[source.name] = _pull(use_case, home, source, at)
        except FlywheelError as error:
            failures.append(error)
    if use_case.sources:
        shown = ", ".join(f"{count} from {name}" for name, count in counts.items())
        log.info("pulled %s for %s", shown or "nothing", use_case.name)
    if failures:
        raise failures[0]
    return counts


def _pull(use_case: UseCase, home: Home, source: SourceConfig, at: datetime) -> int:
    mark = home.inbox(use_case.name) / f".{source.name}.watermark"
    found = sources.read(source, mark.read_text("utf-8") if mark.is_file() else None)
    if found.answers:
        with open_store(home.warehouse) as store:
            store.add_predictions(use_case.name, [_prediction(a, source) for a in found.answers])
    mark.parent.mkdir(parents=True, exist_ok=True)
    if found.rows:
        lines = [json.dumps(row, ensure_ascii=False, default=str) for row in found.rows]
        _write(mark.parent / f"{source.name}-{at:%Y%m%dT%H%M%S}.jsonl", lines)
    if found.watermark is not None:
        _write(mark, [found.watermark])
    return len(found.rows)


def _write(path: Path, lines: Sequence[str]) -> None:
    partial = path.with_name(f"{path.name}.open")
    with partial.open("w", encoding="utf-8") as file:
        file.write("\n".join(lines))
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def _prediction(answer: sources.Answer, source: SourceConfig) -> Prediction:
    return Prediction(
        prediction_id=answer.prediction_id,
        text=answer.text,
        group_id=answer.group_id or answer.customer_id or text_group(answer.text),
        customer_id=answer.customer_id,
        label=answer.label,
        probabilities={answer.label: 1.0},
        model_version=source.name,
        digest=source.name,
        predicted_at=answer.answered_at,
    )
