"""Answer texts with the champion and keep every answer."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prefect import task

from flywheel import progress
from flywheel.config import Home, UseCase
from flywheel.errors import NotEnoughData
from flywheel.modeling import artifact, fingerprint
from flywheel.records import Prediction
from flywheel.records.answers import top
from flywheel.serving.batch_files import Asked
from flywheel.store import open_store
from flywheel.tracking.measured_versions import require_files
from flywheel.tracking.registry import CHAMPION, Registry
from tasks.champion import trusted_versions

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Champion:
    """A loaded champion, which is what was measured."""

    use_case: UseCase
    home: Home
    version: str
    digest: str
    answerer: Any

    def answer(
        self, rows: Sequence[tuple[str, str] | Asked], *, at: datetime, first: int = 0
    ) -> list[Prediction]:
        """Answer ``(group_id, text)`` rows; stored, in the given order.

        An answer's id follows from time, place (``first`` is that of the first row), group, text
        and model, so that a repeated call stores nothing twice.
        """
        asked = [Asked(*row) for row in rows]
        with progress.bar(f"answering {len(rows)} texts") as step:
            answers, _ = self.answerer.answer([row.text for row in asked], progress=step)
        predictions = [
            Prediction(
                prediction_id=_prediction_id(at, i, row.group_id, row.text, self.digest),
                text=row.text,
                group_id=row.group_id,
                # who asked is known only where a row says it, as of requests to the service
                customer_id=row.customer_id,
                label=top(answer),
                probabilities=answer,
                model_version=self.version,
                digest=self.digest,
                predicted_at=at,
            )
            for i, (row, answer) in enumerate(zip(asked, answers, strict=True), start=first)
        ]
        with open_store(self.home.warehouse) as store:
            store.add_predictions(self.use_case.name, predictions)
        log.info("answered %d texts with version %s", len(predictions), self.version)
        return predictions


def load_champion(use_case: UseCase, home: Home) -> Champion:
    """Load the champion of the registry.

    Raises:
        NotEnoughData: there is no champion yet.
        DigestMismatch: the champion is not what was measured; it says what differs.
    """
    from flywheel.modeling import methods

    registry = Registry(home)
    champion = registry.by_alias(use_case.name, CHAMPION)
    if champion is None:
        raise NotEnoughData(
            f"{use_case.name} has no champion yet; run a night first: "
            f"flywheel night -u {use_case.name}"
        )
    what = f"{use_case.name} version {champion.version}"
    back = f"Nothing was answered. To go back: flywheel rollback -u {use_case.name} --yes"
    measured_as = trusted_versions.require_measured(home, champion, so=back)
    # by its own prompt and labels, as the service does
    own = champion.served_use_case().on_runtime_of(use_case.serving)
    base = artifact.base_folder(own, home, champion.adapter_dir)
    found = fingerprint.of(own, base, champion.adapter_dir)
    fingerprint.require_same(
        champion.measured,
        found,
        what=what,
        so=f"Nothing was answered. The next night measures it anew: flywheel night -u {own.name}",
    )
    require_files(measured_as, champion.folder, what=what, so=back)
    answerer = methods.load_on(
        own, base, champion.adapter_dir, images=home.images, compiled=home.compiled(own.name)
    )
    return Champion(own, home, champion.version, champion.digest, answerer)


@task
def predict(
    use_case: UseCase, home: Home, rows: Sequence[tuple[str, str] | Asked], *, at: datetime
) -> list[Prediction]:
    """Answer ``(group_id, text)`` rows with the champion; stored, in the given order.

    Raises:
        NotEnoughData, DigestMismatch: as `load_champion`.
    """
    return load_champion(use_case, home).answer(rows, at=at)


def _prediction_id(at: datetime, row: int, group_id: str, text: str, digest: str) -> str:
    content = "\x1f".join((at.isoformat(), str(row), group_id, text, digest))
    return hashlib.sha256(content.encode()).hexdigest()[:32]
