"""Answer texts with the champion and keep every answer."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from datetime import datetime

from prefect import task

from flywheel import artefact, fingerprint, progress
from flywheel.config import Home, UseCase
from flywheel.errors import NotEnoughData
from flywheel.records import Prediction
from flywheel.registry import CHAMPION, Registry
from flywheel.store import open_store

log = logging.getLogger(__name__)


@task
def predict(
    use_case: UseCase, home: Home, rows: Sequence[tuple[str, str]], *, at: datetime
) -> list[Prediction]:
    """Answer ``(group_id, text)`` rows with the champion; stored, in the given order.

    An answer's id follows from time, group, text and model, so that a repeated call stores nothing
    twice.

    Raises:
        NotEnoughData: there is no champion yet.
        DigestMismatch: the champion is not what was measured; it says what differs.
    """
    from flywheel import methods

    champion = Registry(home).by_alias(use_case.name, CHAMPION)
    if champion is None:
        raise NotEnoughData(
            f"{use_case.name} has no champion yet; run a night first: "
            f"flywheel night -u {use_case.name}"
        )
    base = artefact.base_folder(use_case, home, champion.adapter_dir)
    found = fingerprint.of(use_case, base, champion.adapter_dir)
    fingerprint.require_same(
        champion.measured,
        found,
        what=f"{use_case.name} version {champion.version}",
        so="Nothing was answered; run a night to measure a new version.",
    )
    answerer = methods.load_on(use_case, base, champion.adapter_dir, images=home.images)
    with progress.bar(f"answering {len(rows)} texts") as step:
        answers, _ = answerer.answer([t for _, t in rows], progress=step)
    predictions = [
        Prediction(
            prediction_id=_prediction_id(at, i, group_id, text, found.digest),
            text=text,
            group_id=group_id,
            customer_id=group_id,
            label=max(answer, key=answer.__getitem__),
            probabilities=answer,
            model_version=champion.version,
            digest=found.digest,
            predicted_at=at,
        )
        for i, ((group_id, text), answer) in enumerate(zip(rows, answers, strict=True))
    ]
    with open_store(home.warehouse) as store:
        store.add_predictions(use_case.name, predictions)
    log.info("answered %d texts with version %s", len(predictions), champion.version)
    return predictions


def _prediction_id(at: datetime, row: int, group_id: str, text: str, digest: str) -> str:
    content = "\x1f".join((at.isoformat(), str(row), group_id, text, digest))
    return hashlib.sha256(content.encode()).hexdigest()[:32]
