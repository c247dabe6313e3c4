"""Score contenders and baselines on the same exam rows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from prefect import task

from flywheel import baselines, metrics, progress, snapshots
from flywheel.bases import ensure_base
from flywheel.config import Home, UseCase
from flywheel.records import Example, Report, Snapshot
from flywheel.store import open_store

log = logging.getLogger(__name__)


@task(timeout_seconds=6 * 3_600)
def score(
    use_case: UseCase, home: Home, snapshot: Snapshot, adapter: Path | None, *, name: str
) -> Report:
    """A contender's report on the exam; rows it has answered before are not asked again.

    ``adapter`` None scores the base itself, zero-shot.
    """
    from flywheel import inference

    exam = _exam(home, snapshot)
    base = ensure_base(use_case.training.base, home)
    digest = inference.digest(use_case, base, adapter)
    with open_store(home.warehouse) as store:
        known = store.scores(use_case.name, digest)
    missing = [example for example in exam if example.example_id not in known]
    if missing:
        reader = inference.load_reader(use_case, base, adapter)
        with progress.bar(f"scoring {name} on {len(missing)} exam rows") as step:
            answers, latency_ms = inference.answer(
                reader, use_case, [e.text for e in missing], progress=step
            )
        fresh = {e.example_id: p for e, p in zip(missing, answers, strict=True)}
        with open_store(home.warehouse) as store:
            store.add_scores(use_case.name, digest, fresh, latency_ms)
    with open_store(home.warehouse) as store:
        known = store.scores(use_case.name, digest)
        latency_ms = store.latency_ms(use_case.name, digest)
    log.info("scored %s on %d exam rows (%d asked now)", name, len(exam), len(missing))
    return metrics.report(
        digest=digest,
        labels=use_case.label_names,
        gold={e.example_id: e.label for e in exam if e.label is not None},
        answers={e.example_id: known[e.example_id] for e in exam},
        latency_ms=latency_ms,
    )


@task
def score_baselines(use_case: UseCase, home: Home, snapshot: Snapshot) -> dict[str, float]:
    """Exam accuracy of the cheap baselines on the same rows and the same training labels."""
    examples = snapshots.read(home.snapshots, snapshot.snapshot_id)
    train = [(e.text, e.label) for e in examples if e.split == "train" and e.label]
    exam = [e for e in examples if e.split == "exam"]
    texts = [e.text for e in exam]
    contenders = {"majority": baselines.majority, "tfidf_logistic": baselines.tfidf_logistic}
    return {
        name: _accuracy(exam, contend(train, texts, use_case.label_names))
        for name, contend in contenders.items()
    }


def _exam(home: Home, snapshot: Snapshot) -> list[Example]:
    return [e for e in snapshots.read(home.snapshots, snapshot.snapshot_id) if e.split == "exam"]


def _accuracy(exam: Sequence[Example], answers: Sequence[dict[str, float]]) -> float:
    right = sum(max(p, key=p.__getitem__) == e.label for e, p in zip(exam, answers, strict=True))
    return right / len(exam) if exam else float("nan")
