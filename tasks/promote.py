"""Register the challenger, move the alias, write the night down."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact

from flywheel import training
from flywheel.bases import base_sha256
from flywheel.config import Home, UseCase
from flywheel.errors import DataError, FlywheelError
from flywheel.records import (
    Action,
    Ingested,
    Outcome,
    Reason,
    Report,
    Snapshot,
    Step,
    Trained,
    Verdict,
)
from flywheel.registry import (
    APPROVAL,
    APPROVAL_RESULT,
    APPROVED_BY,
    CHALLENGER,
    CHAMPION,
    JUDGED_AGAINST,
    NO_CHAMPION,
    WAITING,
    Registry,
    Version,
)
from flywheel.store import open_store
from flywheel.summary import mark
from tasks import retry_if_transient
from tasks.evaluate import Contest
from tasks.lock import moving_champion
from tasks.move import promote_over

log = logging.getLogger(__name__)


@task(retries=3, retry_delay_seconds=5, retry_condition_fn=retry_if_transient)
def find_opponent(use_case: UseCase, home: Home, digest: str) -> Version | None:
    """Whom the challenger stands against; None only when the registry states: no champion."""
    return Registry(home).opponent_of(use_case.name, digest)


@task(retries=3, retry_delay_seconds=5, retry_condition_fn=retry_if_transient)
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
    if report is None:
        raise DataError("A challenger without answers cannot be registered. Nothing was changed.")
    opponent = contest.opponent
    verdict_tags = {"verdict": verdict.decision, "as_of": at.isoformat()}
    table = _rules_table(asdict(reason) for reason in verdict.reasons)
    version = registry.register(
        use_case,
        adapter=Path(trained.adapter_dir),
        run_name=f"night {at:%Y-%m-%d %H:%M}",
        tags={
            **verdict_tags,
            "digest": trained.digest,
            "snapshot_id": snapshot.snapshot_id,
            "champion_before": opponent.version if opponent else NO_CHAMPION,
            "base": use_case.training.base,
            "base_sha256": base_sha256(home.models / use_case.training.base),
        },
        params={
            **use_case.training.model_dump(mode="json"),
            "train_examples": trained.train_examples,
            "exam_examples": len(report.example_ids),
        },
        metrics=_metrics(trained, contest, report),
        curve=training.read_curve(Path(trained.adapter_dir)),
        description=table,
    )
    registry.describe(version, verdict_tags, table)
    registry.set_alias(version, CHALLENGER)
    log.info("registered %s version %s as challenger", version.name, version.version)
    return version


def _metrics(trained: Trained, contest: Contest, report: Report) -> dict[str, float]:
    return {
        "exam_accuracy": report.accuracy,
        "exam_macro_f1": report.macro_f1,
        "exam_log_loss": report.log_loss,
        "exam_calibration_error": report.calibration_error,
        "exam_latency_ms": report.latency_ms,
        "train_seconds": trained.train_seconds,
        "peak_memory_mb": trained.peak_memory_mb,
        "tokens_per_second": trained.tokens_per_second,
        **{f"baseline_{name}_accuracy": value for name, value in contest.rivals.items()},
        **{
            f"exam_{measure}_{label}": value
            for label, measures in report.per_class.items()
            for measure, value in measures.items()
        },
    }


@task(retries=3, retry_delay_seconds=5, retry_condition_fn=retry_if_transient)
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


@task(retries=3, retry_delay_seconds=5, retry_condition_fn=retry_if_transient)
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
    if found.tags.get(JUDGED_AGAINST) != comparison:
        registry.untag(version.name, version.version, APPROVAL, APPROVED_BY, APPROVAL_RESULT)
        registry.tag(version.name, version.version, {JUDGED_AGAINST: comparison})
    if APPROVAL_RESULT not in found.tags or found.tags.get(JUDGED_AGAINST) != comparison:
        registry.tag(version.name, version.version, {WAITING: "true"})
        log.info("%s version %s awaits approval", version.name, version.version)
    return "awaiting_approval"


@task(retries=3, retry_delay_seconds=2, retry_condition_fn=retry_if_transient)
def record_night(
    use_case: UseCase,
    home: Home,
    snapshot: Snapshot,
    ingested: Ingested,
    *,
    at: datetime,
    outcome: Outcome,
    verdict: Verdict,
    brake: Reason | None = None,
    trained: Trained | None = None,
    contest: Contest | None = None,
    version: Version | None = None,
) -> dict[str, Any]:
    """Write the night's outcome to the store and show it in Prefect; returns it."""
    facts: dict[str, Any] = {
        "snapshot_id": snapshot.snapshot_id,
        "feedback_read": ingested.read,
        "feedback_quarantined": ingested.quarantined,
        "train_examples": snapshot.train,
        "exam_examples": snapshot.exam,
    }
    if trained and contest and version:
        facts |= _measured(trained, contest, version)
    reasons = [asdict(reason) for reason in (*verdict.reasons, *([brake] if brake else []))]
    night = {
        "use_case": use_case.name,
        "as_of": at.isoformat(),
        "outcome": outcome,
        "reasons": reasons,
        **facts,
    }
    with open_store(home.warehouse) as store:
        steps = store.steps(use_case.name, snapshot.snapshot_id)
    create_markdown_artifact(markdown(night, steps), key=f"verdict-{use_case.name}")
    with open_store(home.warehouse) as store:
        store.record_night(
            use_case.name,
            at,
            outcome,
            reasons,
            facts,
            snapshot.snapshot_id,
            trained.digest if trained else None,
            at,
        )
    log.info("night %s ended %s", at.isoformat(), outcome)
    return night


def _measured(trained: Trained, contest: Contest, version: Version) -> dict[str, Any]:
    ours = contest.challenger.report
    theirs = contest.champion.report if contest.champion else None
    return {
        "version": version.version,
        "digest": trained.digest,
        "train_seconds": trained.train_seconds,
        "peak_memory_mb": trained.peak_memory_mb,
        "tokens_per_second": trained.tokens_per_second,
        "trained_examples": trained.train_examples,
        "trial_nights": contest.trial.nights if contest.trial else None,
        "challenger_accuracy": ours.accuracy if ours else None,
        "challenger_macro_f1": ours.macro_f1 if ours else None,
        "champion_accuracy": theirs.accuracy if theirs else None,
        "baselines": contest.rivals,
    }


@contextmanager
def failure_recorded(use_case: UseCase, home: Home, as_of: datetime) -> Iterator[None]:
    """Write a night that raises down as failed, and let it raise.

    Only errors raised on purpose are quoted: any other message may hold a customer's text.
    """
    try:
        yield
    except BaseException as error:
        said = str(error) if isinstance(error, FlywheelError) else "see the traceback in the log"
        reason = Reason("completed", False, f"{type(error).__name__}: {said}")
        try:
            with open_store(home.warehouse) as store:
                store.record_night(
                    use_case.name, as_of, "failed", [asdict(reason)], {}, None, None, as_of
                )
        except FlywheelError as unwritten:
            log.warning("the failed night could not be written down: %s", unwritten)
        raise


def markdown(night: Mapping[str, Any], steps: Sequence[Step] = ()) -> str:
    """The night as one page of Markdown, with what each curation rule did."""
    numbers = {
        k: v for k, v in night.items() if k not in {"reasons", "outcome", "use_case", "as_of"}
    }
    for name, accuracy in numbers.pop("baselines", {}).items():
        numbers[f"{name}_accuracy"] = accuracy
    facts = "\n".join(
        f"| {name} | {f'{value:.4g}' if isinstance(value, float) else value} |"
        for name, value in numbers.items()
    )
    return (
        f"# {night['use_case']}: {night['outcome']}\n\nNight of {night['as_of']}.\n\n"
        f"{_rules_table(night['reasons'])}\n"
        f"| fact | value |\n|---|---|\n{facts}\n{_steps_table(steps)}"
    )


def _steps_table(steps: Sequence[Step]) -> str:
    if not steps:
        return ""
    rows = [
        f"| {s.rule} | {s.dropped if s.on else 'off'} | {s.changed if s.on else 'off'} "
        f"| {s.detail} | {s.example or ''} |\n"
        for s in steps
    ]
    return (
        "\n| curation rule | dropped | changed | what | an example |\n|---|---|---|---|---|\n"
        f"{''.join(rows)}\nflywheel lineage EXAMPLE says more about one.\n"
    )


def _rules_table(reasons: Iterable[Mapping[str, Any]]) -> str:
    rows = [f"| {r['rule']} | {mark(r)} | {r['detail']} |\n" for r in reasons]
    return "| rule | result | numbers |\n|---|---|---|\n" + "".join(rows)
