"""Write the night down: in the store, as a report for people, as a verdict on the run's page."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, cast

from prefect import task

from flywheel import reports as report
from flywheel.config import Home, UseCase
from flywheel.dataset import snapshots
from flywheel.evaluation import live_acceptance
from flywheel.evaluation.live_acceptance import Live
from flywheel.gate import cold_start
from flywheel.gate.cold_start import NO_MODEL
from flywheel.gate.power import LEARNED_FROM, NOTHING_NEW, SETTINGS, settings
from flywheel.modeling import context_length
from flywheel.records import (
    Example,
    Ingested,
    NightRecord,
    Outcome,
    Reason,
    Report,
    Snapshot,
    Trained,
    Trial,
    Verdict,
)
from flywheel.records.answers import top
from flywheel.reports import night_facts as findings
from flywheel.reports.console import markdown
from flywheel.reports.headline import BRAKE
from flywheel.reports.night_report import NightReport
from flywheel.reports.notification import WORN
from flywheel.store import Store, open_store
from flywheel.store.nights import contender_scores, fresh_rows, night_runs, trials
from flywheel.store.nights import live_acceptance as live_store
from flywheel.store.nights.promotions import promotions
from flywheel.tracking.champion_history import untold_brakes
from flywheel.tracking.registry import Registry
from flywheel.tracking.versions import Version
from flywheel.training.warm_start import PARENT, PARENT_VERSION
from tasks import retry_if_transient
from tasks.coordination.run_page import links, show_page
from tasks.evaluate import Contest, describe_holdout
from tasks.notify import tell
from tasks.report import ARTIFACT_FOLDER, ARTIFACT_NAME, link_pages, rewrite_page, write_page
from tasks.use_case.labeling import make_queue

log = logging.getLogger(__name__)

SHOWN_ROWS = 10
"""Rows won and rows lost that a report quotes at most, and lines of what to label next."""


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
    beside: Sequence[Reason] = (),
    learned_from: str | None = None,
    trained: Trained | None = None,
    contest: Contest | None = None,
    version: Version | None = None,
    trial_beside: Trial | None = None,
) -> dict[str, Any]:
    """Write the night's report, show its verdict in Prefect, and put it into the store, last.

    ``beside`` is what else the night found: of the brake, and of a trial that was not before the
    gate itself. ``learned_from`` is the snapshot of whoever stood before the gate; tonight's, or
    that of the night in which its trial began. ``trial_beside`` is the trial of a challenger that
    was judged tonight and did not stand before the gate.
    """
    facts: dict[str, Any] = {
        "snapshot_id": snapshot.snapshot_id,
        "feedback_read": ingested.read,
        "feedback_quarantined": ingested.quarantined,
        # what there is to learn from; a night that trained nothing did not learn from it
        "train_examples" if trained else "examples_there": snapshot.train,
        "holdout_examples": snapshot.holdout,
        SETTINGS: settings(use_case),
        LEARNED_FROM: learned_from if trained else None,
    }
    if trained and contest and version:
        facts |= _measured(trained, contest, version)
    brake = next((reason for reason in beside if reason.rule == BRAKE), None)
    opponent = _opponent(use_case, home, contest)
    told = (*verdict.reasons, *beside)
    if opponent is None and outcome in ("rejected", "undecided", "skipped"):
        told += _ways_out(use_case, home, snapshot, verdict, contest, trained)
    record = NightRecord(
        at,
        outcome,
        (*told, *brakes_to_tell(use_case, home, brake, at=at)),
        facts,
        snapshot.snapshot_id,
        trained.digest if trained else None,
    )
    night = record.as_json(use_case.name)
    with open_store(home.warehouse) as store:
        steps = store.steps(use_case.name, snapshot.snapshot_id)
        before = night_runs.nights(store, use_case.name)
        lived = live_store.by_version(store, use_case.name, until=at)
    shown: NightReport = {
        **cast(NightReport, night),
        "description": use_case.description,
        "champion_version": opponent,
        "labels": list(use_case.label_names),
        "data": _data(use_case, home, snapshot, ingested) | {"steps": [asdict(s) for s in steps]},
        "live": [
            live_acceptance.facts(Live.of(night, found.values())) for night, found in lived.items()
        ],
        "queue": _queue(use_case, home, at=at),
        "history": [past(one) for one in (*(n for n in before if n.as_of < at), record)],
        **findings.trials(contest.trial if contest else None, trial_beside, use_case.gate),
    }
    if trained and contest:
        shown |= _compared(use_case, home, snapshot, trained, contest)
    facts["headline"] = night["headline"] = report.headline(shown)
    facts[WORN] = night[WORN] = shown[WORN] = findings.is_worn(shown.get("ledger"))
    html = report.page(shown)
    path = write_page(home, use_case.name, at, html)
    if version:
        Registry(home).attach(version, f"{ARTIFACT_FOLDER}/{ARTIFACT_NAME}", html)
    _show_live(use_case, home, lived.get(at, {}), at=at)
    page = f"{markdown(night, steps)}\n{links(path, version, home)}"
    show_page(page, key=f"verdict-{use_case.name}")
    with open_store(home.warehouse) as store:
        night_runs.record(store, use_case.name, replace(record, facts=facts))
    if untold := tell(use_case, shown, [n for n in before if n.as_of < at], page=path):
        rewrite_page(home, use_case.name, at, report.page({**shown, "untold": untold}))
    link_pages(use_case, home, at)
    log.info("night %s ended %s; report %s", at.isoformat(), outcome, path.name)
    return night


def _show_live(use_case: UseCase, home: Home, tonight: Mapping[str, Live], *, at: datetime) -> None:
    """Put how each version's answers fared beside its holdout figures in MLflow."""
    registry = Registry(home)
    there = {one.version for one in registry.versions(use_case.name)} if tonight else set()
    for version, found in tonight.items():
        if version in there:
            registry.log_live(use_case.name, version, live_acceptance.metrics(found), at=at)


def _opponent(use_case: UseCase, home: Home, contest: Contest | None) -> str | None:
    """The champion's number; None only when the registry states that there is none."""
    if contest is not None:
        return contest.opponent.version if contest.opponent else None
    return Registry(home).champion(use_case.name)


def _ways_out(
    use_case: UseCase,
    home: Home,
    snapshot: Snapshot,
    verdict: Verdict,
    contest: Contest | None,
    trained: Trained | None,
) -> tuple[Reason, ...]:
    """What would end the wait for a first model; a skipped night says it as the last one did."""
    if contest is None or contest.challenger.report is None:
        if all(reason.rule != NOTHING_NEW for reason in verdict.reasons):
            # what is missing now stands in the verdict
            return ()
        with open_store(home.warehouse) as store:
            nights = night_runs.nights(store, use_case.name)
        found = (r for night in reversed(nights) for r in night.reasons if r.rule == NO_MODEL)
        return tuple(itertools.islice(found, 1))
    examples = snapshots.read(home.snapshots, snapshot.snapshot_id)
    holdout = Counter(e.label or "" for e in examples if e.split == "holdout")
    return (
        cold_start.ways_out(
            use_case,
            verdict.reasons,
            holdout={"": holdout.total()} if use_case.is_generation else holdout,
            groups=cold_start.few_groups(use_case, examples),
            score=contest.challenger.report.score,
            slate=trained.slate if trained else (),
            baselines=contest.baselines,
        ),
    )


def brakes_to_tell(
    use_case: UseCase, home: Home, brake: Reason | None, *, at: datetime
) -> list[Reason]:
    """What the brake did in nights that could not say so any more; ``brake`` is tonight's own."""
    with open_store(home.warehouse) as store:
        moves, nights = promotions(store, use_case.name), night_runs.nights(store, use_case.name)
    told_tonight = brake is not None and brake.passed is False
    return [
        Reason(
            "brake",
            False,
            f"{step.why}: proven, and rolled back in the night of {step.at:%Y-%m-%d %H:%M} UTC, "
            "which was stopped before it could say so",
        )
        for step in untold_brakes(moves, nights, at=at)
        if not (told_tonight and step.at == at)
    ]


def _measured(trained: Trained, contest: Contest, version: Version) -> dict[str, Any]:
    ours = contest.challenger.report
    theirs = contest.champion.report if contest.champion else None
    return {
        "version": version.version,
        "digest": trained.digest,
        "train_seconds": trained.train_seconds,
        "peak_memory_mb": trained.peak_memory_mb,
        "holdout_memory_mb": contest.challenger.memory_mb,
        "tokens_per_second": trained.tokens_per_second,
        "trained_examples": trained.train_examples,
        "started_from": trained.start,
        PARENT: trained.parent,
        PARENT_VERSION: trained.parent_version,
        "new_examples": trained.new_examples,
        "replayed_examples": trained.replayed_examples,
        "trial_nights": contest.trial.nights if contest.trial else None,
        "trial_rows_recorded": contest.trial.recorded if contest.trial else None,
        "challenger_accuracy": ours.accuracy if ours else None,
        "challenger_macro_f1": ours.macro_f1 if ours else None,
        "champion_accuracy": theirs.accuracy if theirs else None,
        **_overlaps(ours, theirs),
        "baselines": contest.rivals,
    }


def _overlaps(ours: Report | None, theirs: Report | None) -> dict[str, Any]:
    """ROUGE of both contenders, where answers are written."""
    return {
        f"{who}_{measure}": getattr(report.overlap, measure)
        for who, report in (("challenger", ours), ("champion", theirs))
        if report and report.overlap
        for measure in ("rouge_1", "rouge_2", "rouge_l")
    }


# ---- The report's facts


def _compared(
    use_case: UseCase, home: Home, snapshot: Snapshot, trained: Trained, contest: Contest
) -> NightReport:
    limits, rows = use_case.gate, describe_holdout(use_case, home, snapshot)
    ours = contest.challenger.report
    theirs = contest.champion.report if contest.champion else None
    if ours is None:
        return {}
    both = (ours, theirs) if theirs else None
    with open_store(home.warehouse) as store:
        asked = [vars(one) for one in trials.asked(store, use_case.name)]
        told = trials.told(store, use_case.name)
        changed = _changed(store, use_case, home, snapshot, contest)
    champion = contest.champion
    return {
        "holdout": {
            "rows": len(ours.example_ids),
            "challenger": findings.contender(contest.challenger, rows, limits),
            "champion": findings.contender(champion, rows, limits) if champion else None,
            "baselines": contest.rivals,
            "gain": findings.holdout_gain(*both, rows, limits) if both else None,
            "further_labels": findings.further_labels(*both, rows, contest.question, limits)
            if both
            else None,
        },
        "confusion": {
            "challenger": findings.confusion(ours, rows, use_case.label_names),
            "champion": theirs and findings.confusion(theirs, rows, use_case.label_names),
        },
        "reliability": {
            "challenger": findings.reliability(ours),
            "champion": theirs and findings.reliability(theirs),
        }
        if ours.confidence
        else None,
        "slices": findings.slice_rows(*both, rows, limits) if both else None,
        "ledger": findings.wear(
            asked,
            rows=len(ours.example_ids),
            disagreement=findings.disagreement(*both, limits) if both else None,
            limits=limits,
            told=told,
        ),
        "changed": changed,
        "cost": {
            "started_from": trained.start,
            "train_seconds": trained.train_seconds,
            "peak_memory_mb": trained.peak_memory_mb,
            "tokens_per_second": trained.tokens_per_second,
            "evaluate_seconds": ours.latency_ms * len(ours.example_ids) / 1_000,
            "machine_cost": limits.machine_cost_per_hour
            and limits.machine_cost_per_hour * trained.train_seconds / 3_600,
        },
    }


def _changed(
    store: Store, use_case: UseCase, home: Home, snapshot: Snapshot, contest: Contest
) -> dict[str, Any] | None:
    """Fresh rows that only one of both got right, with texts; holdout rows are never shown."""
    if contest.trial is None or not contest.trial.rows or contest.opponent is None:
        return None
    ours = contest.challenger.report
    theirs = contest.champion.report if contest.champion else None
    if ours is None or theirs is None:
        return None
    found = {e.example_id: e for e in snapshots.read(home.snapshots, snapshot.snapshot_id)}
    answers = {
        "champion": contender_scores.scores(store, use_case.name, theirs.digest),
        "challenger": contender_scores.scores(store, use_case.name, ours.digest),
    }
    newest_first = sorted(contest.trial.rows, key=lambda r: (r.as_of, r.example_id), reverse=True)
    won = [r for r in newest_first if r.challenger_right and not r.champion_right]
    lost = [r for r in newest_first if r.champion_right and not r.challenger_right]

    def quoted(example: Example) -> dict[str, Any]:
        said = {who: top(scores[example.example_id]) for who, scores in answers.items()}
        return {"text": example.text, "label": example.label, **said}

    return {
        "where": "fresh rows",
        "won": [quoted(found[r.example_id]) for r in won if r.example_id in found][:SHOWN_ROWS],
        "lost": [quoted(found[r.example_id]) for r in lost if r.example_id in found][:SHOWN_ROWS],
        "won_count": len(won),
        "lost_count": len(lost),
    }


def _data(use_case: UseCase, home: Home, snapshot: Snapshot, ingested: Ingested) -> dict[str, Any]:
    examples = snapshots.read(home.snapshots, snapshot.snapshot_id)
    learned = [name for e in examples if e.split == "train" for name in e.feedback_ids]
    with open_store(home.warehouse) as store:
        origins = fresh_rows.origins(store, use_case.name, learned)
    return {
        "read": ingested.read,
        "ingested": ingested.ingested,
        "duplicate": ingested.duplicate,
        "quarantined": ingested.quarantined,
        "parked": ingested.parked,
        "train_examples": snapshot.train,
        "cut": _cut(use_case, home, [e.text for e in examples]),
        "per_class": findings.per_class(examples, use_case.label_names),
        "sources": dict(Counter(source for source, _ in origins.values()).most_common()),
    }


def _cut(use_case: UseCase, home: Home, texts: Sequence[str]) -> dict[str, Any] | None:
    """How many texts lose their end before a model reads them; None where none is read in part."""
    found = context_length.read_in_part(use_case, home, texts)
    if found is None:
        return None
    if found.cut:
        log.info("%s", context_length.in_words(found))
    return {**asdict(found), "said": context_length.in_words(found)}


_LOOKED_AT_FOR_THE_PAGE = 10_000
"""Texts, the newest, of which a night's page shows a few to label: each night, so not all."""


def _queue(use_case: UseCase, home: Home, *, at: datetime) -> list[dict[str, Any]]:
    items = make_queue(
        use_case, home, size=SHOWN_ROWS, audit_share=0.0, at=at, newest=_LOOKED_AT_FOR_THE_PAGE
    )
    return [{"reason": one.reason, "score": one.score, "text": one.text} for one in items]


_PAST = ("challenger_accuracy", "champion_accuracy", "challenger_rouge_l", "champion_rouge_l")


def past(night: NightRecord) -> dict[str, Any]:
    """A night as the report's history shows it, from the store's record or tonight's."""
    return {
        "as_of": night.as_of.isoformat(),
        "outcome": night.outcome,
        **{name: night.facts.get(name) for name in _PAST},
    }
