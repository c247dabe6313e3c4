"""One night: ingest → curate → train → evaluate → gate → register → champion."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow

from flywheel import gates
from flywheel.config import Home, UseCase, load_use_case
from flywheel.environment import prepare
from flywheel.records import Outcome, Reason, Verdict
from flywheel.store import open_store
from tasks.curate import curate_snapshot
from tasks.evaluate import score, score_baselines
from tasks.ingest import ingest
from tasks.lock import only_night
from tasks.promote import failure_recorded, find_opponent, move_champion, record_night, register
from tasks.pull import pull
from tasks.train import fetch_base, train_inline, train_on_pool

OUTCOMES: dict[str, Outcome] = {
    "promote": "promoted",
    "reject": "rejected",
    "undecided": "undecided",
}


@flow(name="flywheel", log_prints=False)
def flywheel(
    use_case: str | UseCase = "product-reviews", as_of: datetime | None = None
) -> dict[str, Any]:
    """One turn of the wheel for ``use_case``; returns the night as it was recorded.

    A night that has ended before for ``as_of`` is returned as it was; one that failed runs again.
    """
    case = use_case if isinstance(use_case, UseCase) else load_use_case(use_case)
    at = as_of or datetime.now(UTC).replace(microsecond=0)
    home = Home()
    prepare(home)
    with only_night(home, case.name), failure_recorded(case, home, at):
        return _recorded(case, home, at) or _night(case, home, at)


def _night(case: UseCase, home: Home, at: datetime) -> dict[str, Any]:
    pull(case, home, at=at)
    ingested = ingest(case, home, at=at)
    snapshot = curate_snapshot(case, home, at=at)
    facts: dict[str, Any] = {
        "snapshot_id": snapshot.snapshot_id,
        "feedback_read": ingested.read,
        "feedback_quarantined": ingested.quarantined,
        "train_examples": snapshot.train,
        "exam_examples": snapshot.exam,
    }
    if why_not := _why_skip(case, home, snapshot.snapshot_id, snapshot.train):
        verdict = Verdict("undecided", (why_not,))
        return record_night(
            case,
            home,
            as_of=at,
            outcome="skipped",
            verdict=verdict,
            facts=facts,
            snapshot=snapshot,
            digest=None,
        )

    fetch_base(case, home)
    train = train_on_pool if case.training.where == "pool" else train_inline
    trained = train(case, home, snapshot)

    champion = find_opponent(case, home, trained.digest)
    challenger_report = score(
        case, home, snapshot, Path(trained.adapter_dir), name="the challenger"
    )
    champion_report = (
        score(case, home, snapshot, champion.adapter_dir, name="the champion") if champion else None
    )
    baselines = score_baselines(case, home, snapshot)
    baselines["zero_shot"] = score(case, home, snapshot, None, name="the base").accuracy

    verdict = gates.decide(
        challenger=challenger_report,
        champion=champion_report,
        first=champion is None,
        rules=case.gate,
    )
    version = register(
        case,
        home,
        as_of=at,
        snapshot=snapshot,
        trained=trained,
        report=challenger_report,
        baselines=baselines,
        verdict=verdict,
        champion=champion,
    )
    if verdict.decision == "promote":
        move_champion(home, version, use_case=case, at=at, against=champion)
    return record_night(
        case,
        home,
        as_of=at,
        outcome=OUTCOMES[verdict.decision],
        verdict=verdict,
        facts=facts
        | {
            "version": version.version,
            "train_seconds": trained.train_seconds,
            "peak_memory_mb": trained.peak_memory_mb,
            "tokens_per_second": trained.tokens_per_second,
            "challenger_accuracy": challenger_report.accuracy,
            "challenger_macro_f1": challenger_report.macro_f1,
            "champion_accuracy": champion_report.accuracy if champion_report else None,
            "baselines": baselines,
        },
        snapshot=snapshot,
        digest=trained.digest,
    )


def _recorded(case: UseCase, home: Home, at: datetime) -> dict[str, Any] | None:
    """The night of ``at`` if it has ended before."""
    with open_store(home.warehouse) as store:
        for night in store.nights(case.name):
            if night["as_of"] == at and night["outcome"] != "failed":
                return {
                    "use_case": case.name,
                    "as_of": at.isoformat(),
                    "outcome": night["outcome"],
                    "reasons": night["reasons"],
                    **night["facts"],
                }
    return None


def _why_skip(case: UseCase, home: Home, snapshot_id: str, train: int) -> Reason | None:
    if train < case.training.min_examples:
        return Reason(
            "enough_examples",
            None,
            f"snapshot {snapshot_id[:12]} has {train} training examples; "
            f"training needs at least {case.training.min_examples} (training.min_examples)",
        )
    with open_store(home.warehouse) as store:
        judged = {n["snapshot_id"]: n["as_of"] for n in store.nights(case.name) if n["digest"]}
        wanted = store.retrain_wanted(case.name)
    if snapshot_id in judged and not wanted:
        return Reason(
            "something_new",
            None,
            f"snapshot {snapshot_id[:12]} was judged in the night of {judged[snapshot_id]}; "
            "no feedback has come since that changes what there is to learn",
        )
    return None
