"""One night: ingest → curate → train → evaluate → gate → register → champion."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow, tags

from flows.parameters import by_name
from flows.run_page import ended, run_name, tag_run
from flywheel.config import Home, UseCase, load_use_case
from flywheel.errors import FlywheelError, UnusualFeedback
from flywheel.home.environment import open_home, prepare
from flywheel.records import Contender, Ingested, Outcome, Reason, Snapshot, Trained, Trial, Verdict
from flywheel.store import open_store
from flywheel.store.nights import night_runs
from flywheel.store.waiting import NIGHT_WAIT_S, patient
from flywheel.tracking.versions import Version
from tasks.champion.auto_rollback import watch_champion
from tasks.champion.reconcile import settle
from tasks.champion.remeasure import remeasure_champion
from tasks.coordination.locks import only_night
from tasks.coordination.night_order import require_in_order
from tasks.curate import curate_snapshot, reason_to_skip
from tasks.evaluate import Contest, describe_holdout, examine, score_baselines
from tasks.evidence_shares import reactions_told
from tasks.failure import failure_recorded
from tasks.gate import judge
from tasks.ingest import ingest
from tasks.learned_rows import already_learned
from tasks.night_metrics import measured
from tasks.opponent import champion_again, find_opponent
from tasks.promote import await_approval, move_champion, register
from tasks.pull import pull
from tasks.record import record_night
from tasks.refused_night import told_whatever_fails, watch_refused_night
from tasks.train import fetch_bases, fetch_bases_of_versions, train_slate
from tasks.trial import (
    ask_ledger,
    challenger_on_trial,
    gather_evidence,
    settle_trial,
    stands_tonight,
)
from tasks.verify import holdout_sample, verify_served
from tasks.warm_start import require_unseen

OUTCOMES: dict[str, Outcome] = {
    "promote": "promoted",
    "reject": "rejected",
    "undecided": "undecided",
}


@by_name
@flow(name="flywheel", flow_run_name=run_name, log_prints=False)
def flywheel(
    use_case: str | UseCase = "product-reviews", as_of: datetime | None = None
) -> dict[str, Any]:
    """One turn of the wheel for ``use_case``; returns the night as it was recorded.

    A night that has ended before for ``as_of`` is returned as it was; one that failed runs again.

    Raises:
        NightOutOfOrder: ``as_of`` is before what is on record.
    """
    case = use_case if isinstance(use_case, UseCase) else load_use_case(use_case)
    at = as_of or datetime.now(UTC).replace(microsecond=0)
    home = Home()
    prepare(home)
    open_home(home)
    tag_run(case)
    with (
        tags(case.name),
        patient(NIGHT_WAIT_S, who=f"the night of {case.name}"),
        only_night(home, case.name),
        measured(case, home) as lived,
        failure_recorded(case, home, at),
    ):
        if recorded := _recorded(case, home, at):
            night, lived.anew = recorded, False
        else:
            require_in_order(case, home, at=at)
            night = _night(case, home, at)
    returned: dict[str, Any] = ended(night)
    return returned


def _night(case: UseCase, home: Home, at: datetime) -> dict[str, Any]:
    unread = _pull(case, home, at)
    ingested = ingest(case, home, at=at)
    try:
        snapshot = curate_snapshot(case, home, at=at)
    except UnusualFeedback as refused:
        refused.facts["brake"] = told_whatever_fails(lambda: _brake(case, home, at))
        raise
    if why_not := reason_to_skip(case, home, snapshot):
        fetch_bases_of_versions(case, home)
        settle(case, home, at=at)
        anew = remeasure_champion(case, home, snapshot, at=at)
        # what is not trained on may show all the same that the champion is worse
        brake = watch_champion(case, home, snapshot, at=at)
        beside = [reason for reason in (unread, anew, brake) if reason]
        return _skipped(case, home, snapshot, ingested, why_not, at=at, beside=beside)

    fetch_bases(case, home)
    newest = train_slate(case, home, snapshot, at=at)

    settle(case, home, at=at)
    anew = remeasure_champion(case, home, snapshot, at=at)
    brake = watch_champion(case, home, snapshot, at=at)
    standing, over = challenger_on_trial(case, home, at=at)
    trial = gather_evidence(case, home, snapshot, standing, at=at)
    spoken = reactions_told(case, home, at=at)
    again = champion_again(case, home, newest.digest, at=at)
    if again and standing is None:
        beside = [reason for reason in (unread, anew, over, spoken, brake) if reason]
        return _skipped(case, home, snapshot, ingested, again, at=at, beside=beside)
    on_trial = standing if again or stands_tonight(case, standing, trial, newest) else None
    trained = on_trial.trained if on_trial else newest
    require_unseen(case, home, snapshot, trained)
    contest = _compare(case, home, snapshot, trained, trial if on_trial else None, at=at)
    verdict = judge(
        challenger=contest.challenger,
        champion=contest.champion,
        first=contest.first,
        gone=contest.gone,
        rows=describe_holdout(case, home, snapshot),
        question=contest.question,
        trial=contest.trial,
        limits=case.gate,
        golden=len(case.golden),
        canary=case.serving.canary_share > 0,
    )
    version = register(case, home, snapshot, trained, contest, at=at, verdict=verdict)
    outcome = OUTCOMES[verdict.decision]
    if verdict.decision == "promote":
        verify_served(case, home, version, holdout_sample(case, home, version))
        outcome = _promote(case, home, version, contest, at=at)
    settled = settle_trial(
        case,
        home,
        snapshot,
        at=at,
        trained=trained,
        champion=contest.opponent,
        verdict=verdict,
        standing=standing,
        trial=trial,
    )
    return record_night(
        case,
        home,
        snapshot,
        ingested,
        at=at,
        outcome=outcome,
        verdict=verdict,
        beside=[
            r
            for r in (unread, anew, contest.note, contest.learned, over, settled, spoken, brake)
            if r
        ],
        learned_from=on_trial.one.snapshot_id if on_trial else snapshot.snapshot_id,
        trained=trained,
        contest=contest,
        version=version,
        trial_beside=None if on_trial else trial,
    )


def _skipped(
    case: UseCase,
    home: Home,
    snapshot: Snapshot,
    ingested: Ingested,
    why: Reason,
    *,
    at: datetime,
    beside: list[Reason],
) -> dict[str, Any]:
    """Record a night that judged nobody, for one reason."""
    return record_night(
        case,
        home,
        snapshot,
        ingested,
        at=at,
        outcome="skipped",
        verdict=Verdict("undecided", (why,)),
        beside=beside,
    )


def _pull(case: UseCase, home: Home, at: datetime) -> Reason | None:
    """Fetch from the sources; one that cannot be read is said, and is no night without feedback."""
    try:
        pull(case, home, at=at)
    except FlywheelError as error:
        return Reason("sources", None, str(error))
    return None


def _brake(case: UseCase, home: Home, at: datetime) -> Reason | None:
    """The brake of a night that refuses its feedback."""
    fetch_bases_of_versions(case, home)
    settle(case, home, at=at)
    return watch_refused_night(case, home, at=at)


def _promote(
    case: UseCase, home: Home, version: Version, contest: Contest, *, at: datetime
) -> Outcome:
    """Make the version champion, or leave it to a person to do so."""
    before = contest.opponent
    if case.promotion == "approval":
        return await_approval(home, version, use_case=case, against=before)
    move_champion(home, version, use_case=case, at=at, against=before)
    return "promoted"


def _compare(
    case: UseCase,
    home: Home,
    snapshot: Snapshot,
    trained: Trained,
    trial: Trial | None,
    *,
    at: datetime,
) -> Contest:
    """Ask challenger, champion and baselines the same rows, and the ledger what that may decide."""
    adapter = Path(trained.adapter_dir)
    found = find_opponent(case, home, trained.digest)
    opponent, own = found.version, found.use_case
    question = ask_ledger(case, home, snapshot, at=at, digest=trained.digest, champion=opponent)
    rival = (own, opponent.adapter_dir) if opponent and own else None
    digests = [trained.digest, *([opponent.digest] if opponent else [])]
    learned, told = already_learned(case, home, snapshot, digests)
    return Contest(
        opponent=opponent,
        gone=found.gone,
        note=found.note,
        learned=told,
        question=question,
        trial=trial,
        challenger=examine(
            case, home, snapshot, adapter, name="the challenger", rival=rival, without=learned
        ),
        champion=examine(
            case, home, snapshot, rival[1], name="the champion", own=own, without=learned
        )
        if rival
        else None,
        base=examine(case, home, snapshot, None, name="the base", without=learned)
        if case.training.zero_shot_base
        else Contender(report=None),
        baselines=score_baselines(case, home, snapshot, learned),
    )


def _recorded(case: UseCase, home: Home, at: datetime) -> dict[str, Any] | None:
    """The night of ``at`` if it has ended before."""
    with open_store(home.warehouse) as store:
        for night in night_runs.nights(store, case.name):
            if night.as_of == at and not night.failed:
                return night.as_json(case.name)
    return None
