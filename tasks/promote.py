"""Register the challenger, move the alias, write the night down."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

from prefect import task

from flywheel.catalog.base_models import base_sha256
from flywheel.config import Home, UseCase
from flywheel.errors import DataError
from flywheel.modeling import artifact
from flywheel.records import Action, Outcome, Report, Snapshot, Trained, Verdict
from flywheel.reports.console import rules_table
from flywheel.store import open_store
from flywheel.store.nights import contender_scores
from flywheel.tracking.registry import CHALLENGER, CHAMPION, Registry
from flywheel.tracking.version_tags import (
    APPROVAL,
    APPROVAL_RESULT,
    APPROVED_BY,
    NO_CHAMPION,
    VersionTags,
)
from flywheel.tracking.versions import Version
from flywheel.training import adapter_folder
from tasks import retry_if_transient
from tasks.champion import trusted_versions
from tasks.champion.move import promote_over
from tasks.coordination.locks import moving_champion
from tasks.evaluate import Contest
from tasks.verify import keep_sample

log = logging.getLogger(__name__)


@task(
    task_run_name="register",
    retries=3,
    retry_delay_seconds=5,
    retry_condition_fn=retry_if_transient,
)
def register(
    use_case: UseCase,
    home: Home,
    snapshot: Snapshot,
    trained: Trained,
    contest: Contest,
    *,
    at: datetime,
    verdict: Verdict,
) -> Version:
    """Register tonight's adapter as a version and call it the challenger.

    One that is on trial was registered before: its page gets tonight's verdict.
    """
    registry, report = Registry(home), contest.challenger.report
    adapter = Path(trained.adapter_dir)
    read, base = artifact.read(use_case, adapter), artifact.base_folder(use_case, home, adapter)
    if report is None:
        raise DataError("A challenger without answers cannot be registered. Nothing was changed.")
    opponent = contest.opponent
    tags = VersionTags(
        verdict=verdict.decision,
        as_of=at.isoformat(),
        champion_before=opponent.version if opponent else NO_CHAMPION,
        holdout_score=f"{report.score:.6f}",
    )
    table = rules_table(asdict(reason) for reason in verdict.reasons)
    version = registry.register(
        use_case,
        adapter=adapter,
        run_name=f"night {at:%Y-%m-%d %H:%M}",
        tags=replace(
            tags,
            digest=trained.digest,
            snapshot_id=snapshot.snapshot_id,
            method=read.method,
            base=read.base or "none",
            base_sha256=base_sha256(base) if base else "none",
            # beside the digest, and no part of it: another machine serves it in another one
            numeric_type=trained.numeric_type,
            runtime=_runtime(use_case, home, trained.digest),
            parent=trained.parent if trained.parent_version else None,
            parent_version=trained.parent_version if trained.parent else None,
        ),
        params={
            **use_case.training.model_dump(mode="json"),
            "train_examples": trained.train_examples,
            "holdout_examples": len(report.example_ids),
        },
        metrics=_metrics(trained, contest, report),
        curve=adapter_folder.read_curve(adapter),
        description=table,
    )
    # before it has an alias: what is not in the warehouse is refused
    trusted_versions.remember(home, version, verdict=verdict.decision, at=at)
    registry.describe(version, tags, table)
    # before the alias: the service that follows it asks for the sample at once
    keep_sample(use_case, home, version)
    registry.set_alias(version, CHALLENGER)
    log.info("registered %s version %s as challenger", version.name, version.version)
    return version


def _runtime(use_case: UseCase, home: Home, digest: str) -> str | None:
    with open_store(home.warehouse) as store:
        return contender_scores.runtimes(store, use_case.name, digest)


def _metrics(trained: Trained, contest: Contest, report: Report) -> dict[str, float]:
    measured = {
        "holdout_macro_f1": report.macro_f1,
        "holdout_log_loss": report.log_loss,
        "holdout_calibration_error": report.calibration_error,
        "holdout_rouge_1": report.overlap and report.overlap.rouge_1,
        "holdout_rouge_2": report.overlap and report.overlap.rouge_2,
        "holdout_rouge_l": report.overlap and report.overlap.rouge_l,
    }
    score = "rouge_l" if report.overlap else "accuracy"
    memory = contest.challenger.memory_mb
    return {
        "holdout_accuracy": report.accuracy,
        **{name: value for name, value in measured.items() if value is not None},
        "holdout_latency_ms": report.latency_ms,
        "train_seconds": trained.train_seconds,
        "peak_memory_mb": trained.peak_memory_mb,
        "tokens_per_second": trained.tokens_per_second,
        **({"holdout_memory_mb": memory} if memory is not None else {}),
        **{f"baseline_{name}_{score}": value for name, value in contest.rivals.items()},
        **{
            f"holdout_{measure}_{label}": value
            for label, measures in report.per_class.items()
            for measure, value in measures.items()
        },
    }


@task(
    task_run_name="promote",
    retries=3,
    retry_delay_seconds=5,
    retry_condition_fn=retry_if_transient,
)
def move_champion(
    home: Home,
    version: Version,
    *,
    use_case: UseCase,
    at: datetime,
    against: Version | None,
    action: Action = "promoted",
    who: str = "flywheel",
    why: str = "the night's verdict",
) -> None:
    """Make ``version``, which was compared with ``against``, the champion, and record it.

    Done twice is done once, also when somebody moved the champion in between.

    Raises:
        ChampionMoved: the champion is another one than ``against`` by now.
        DigestMismatch: the version is not what was measured.
    """
    with moving_champion(home, use_case.name):
        promote_over(
            use_case,
            home,
            version,
            against=against.version if against else None,
            at=at,
            action=action,
            who=who,
            why=why,
        )


@task(
    task_run_name="await approval",
    retries=3,
    retry_delay_seconds=5,
    retry_condition_fn=retry_if_transient,
)
def await_approval(
    home: Home, version: Version, *, use_case: UseCase, against: Version | None
) -> Outcome:
    """Leave ``version``, which was compared with ``against``, for a person to decide on.

    Returns the night's outcome: ``promoted`` when a night that is lived again finds that a person
    has let it be champion already. A decision that was made on the same comparison stands.
    """
    registry = Registry(home)
    (found,) = (v for v in registry.versions(use_case.name) if v.version == version.version)
    if CHAMPION in found.aliases:
        return "promoted"
    comparison = against.version if against else NO_CHAMPION
    again = found.record.judged_against != comparison
    if again:
        registry.untag(version.name, version.version, APPROVAL, APPROVED_BY, APPROVAL_RESULT)
        registry.tag(
            version.name, version.version, VersionTags(judged_against=comparison).written()
        )
    if again or found.record.approval_result is None:
        registry.tag(version.name, version.version, VersionTags(awaiting_approval=True).written())
        log.info("%s version %s awaits approval", version.name, version.version)
    return "awaiting_approval"
