"""Keep a challenger on trial night after night, while newer ones are trained beside it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from prefect import task

from flywheel.config import Home, UseCase
from flywheel.errors import DataError
from flywheel.evaluation.task_type import task_type
from flywheel.gate import decision, served_answers, trial_length
from flywheel.gate.comparison import won
from flywheel.gate.trial_length import Ending
from flywheel.gate.trial_progress import stand
from flywheel.records import (
    Example,
    FreshRow,
    Question,
    Reason,
    Served,
    Snapshot,
    Trained,
    Trial,
    Verdict,
)
from flywheel.store import open_store
from flywheel.store.nights import fresh_rows, night_runs, trials
from flywheel.store.nights.promotions import promotions
from flywheel.store.nights.trials import Standing
from flywheel.tracking.registry import Registry
from flywheel.tracking.versions import Version
from flywheel.training import adapter_folder
from tasks import retry_if_transient
from tasks.evaluate import ask, describe, digest_of
from tasks.evidence_shares import (
    not_kept_before,
    reaction_weights,
    speakers,
    within_shares,
)
from tasks.fresh_evidence import AUDIT, fresh_examples
from tasks.opponent import as_asked

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OnTrial:
    """The challenger on trial, as it was trained, and how its trial was begun."""

    one: Standing
    trained: Trained


Asked = tuple[UseCase, Path]
"""A contender's files, and the use case that it is asked by: a version keeps its own prompt."""


@task(retries=3, retry_delay_seconds=5, retry_condition_fn=retry_if_transient)
def challenger_on_trial(
    use_case: UseCase, home: Home, *, at: datetime
) -> tuple[OnTrial | None, Reason | None]:
    """The challenger whose trial goes on tonight, or why its trial is over; None, None without one.

    A trial ends without a verdict when the champion has changed, when a person made the challenger
    champion, when somebody whom the challenger
    learned from is to be forgotten, when its files are gone, or when it would not be asked as it
    was: the prompt was edited, say, or a library changed.
    """
    with open_store(home.warehouse) as store:
        one = trials.standing(store, use_case.name, kind="challenge", as_of=at)
        forgotten = night_runs.retrain_wanted(store, use_case.name)
        moves = promotions(store, use_case.name)
    if one is None:
        return None, None
    registry = Registry(home)
    champion = registry.champion_digest(use_case.name)
    # this night may have made it champion before it was killed; whoever did so else ended its trial
    elsewhere = any((move.action, move.at) != ("promoted", at) for move in moves[-1:])
    same = champion == one.champion_digest or (champion == one.digest and not elsewhere)
    forgotten = forgotten or registry.learned_from_forgotten(use_case.name, one.digest)
    folder = home.adapters / one.adapter
    complete = adapter_folder.is_whole(use_case, folder)
    if champion == one.digest and elsewhere:
        why = "it was made champion"
    elif not same:
        why = "the champion was changed or measured anew"
    elif forgotten:
        why = "somebody whom the challenger learned from was forgotten"
    elif not complete:
        why = "the challenger's files are gone or damaged"
    elif digest_of(use_case, home, folder) != one.digest:
        why = "it learned with another prompt, other labels or lengths, base or libraries"
    else:
        return OnTrial(one, adapter_folder.read_trained(folder)), None
    _end(use_case, home, one, at=at, ending="superseded")
    said = f"trial {one.number} ended without a verdict: {why}. A later challenger takes its level"
    log.info("%s: %s", use_case.name, said)
    return None, Reason("trial", None, said)


@task(retries=3, retry_delay_seconds=2, retry_condition_fn=retry_if_transient)
def ask_ledger(
    use_case: UseCase,
    home: Home,
    snapshot: Snapshot,
    *,
    at: datetime,
    digest: str,
    champion: Version | None,
) -> Question | None:
    """Spend what a question to the holdout costs tonight; None when there is none to ask.

    One that is too small is asked nothing, so that the night's verdict tells nothing of it.
    """
    if champion is not None and snapshot.holdout < use_case.gate.min_holdout_examples:
        return None
    with open_store(home.warehouse) as store:
        return trials.ask(
            store,
            use_case.name,
            as_of=at,
            digest=digest,
            champion_digest=champion.digest if champion else None,
            rows=snapshot.holdout,
            rules=use_case.gate,
        )


@task(timeout_seconds=6 * 3_600)
def gather_evidence(
    use_case: UseCase,
    home: Home,
    snapshot: Snapshot,
    standing: OnTrial | None,
    *,
    at: datetime,
) -> Trial | None:
    """Ask both contenders of a trial tonight's fresh rows; None when there is no trial."""
    if standing is None:
        return None
    one, registry = standing.one, Registry(home)
    try:
        champion = registry.opponent_of(use_case.name, one.digest)
    except DataError:
        return None
    if champion is None or champion.digest != one.champion_digest:
        return None
    own = as_asked(use_case, champion.served_use_case())
    if digest_of(own, home, champion.adapter_dir) != champion.digest:
        return None
    contenders = {
        "the challenger on trial": (use_case, Path(standing.trained.adapter_dir)),
        "the champion": (own, champion.adapter_dir),
    }
    return compare_on_fresh_rows(use_case, home, snapshot, one, contenders, at=at)


def stands_tonight(
    use_case: UseCase, standing: OnTrial | None, trial: Trial | None, newest: Trained
) -> bool:
    """Whether the one on trial stands before the gate tonight, rather than the newest.

    It does when fresh rows prove its gain, when tonight's training came to the very same model, and
    where a canary is served, which must go on showing one challenger until that is told.
    """
    if standing is None or trial is None:
        return False
    if newest.digest == standing.one.digest:
        return True
    stands = stand(trial, use_case.gate)
    if stands.proven:
        return True
    return use_case.serving.canary_share > 0 and not _place_for(use_case, standing, trial, newest)


def compare_on_fresh_rows(
    use_case: UseCase,
    home: Home,
    tonight: Snapshot | Sequence[Example],
    one: Standing,
    contenders: Mapping[str, Asked],
    *,
    at: datetime,
) -> Trial:
    """Ask the two ``contenders`` what is fresh tonight, keep who was right, return the trial."""
    fresh = fresh_examples(use_case, home, tonight, one, at)
    fresh, before = not_kept_before(use_case, home, fresh, one, at=at)
    rows = describe(use_case, home, fresh)
    texts = {e.example_id: e.text for e in fresh if e.example_id in rows}
    ours, theirs = (
        ask(own, home, adapter, texts, name=name) for name, (own, adapter) in contenders.items()
    )
    answered = recorded_answers(use_case, home, [e for e in fresh if e.example_id in rows], one)
    spoke = speakers(use_case, home, [e for e in fresh if e.example_id in rows])
    weights = reaction_weights(use_case, home, [e for e in fresh if e.example_id in rows], at=at)
    found, kind = [], task_type(use_case)
    for name, row in rows.items():
        judged = served_answers.resolve_answers(
            answered[name],
            {one.digest: ours[name], one.champion_digest: theirs[name]},
            challenger=one.digest,
        )
        our_score, their_score = (
            kind.row_score(judged.answers[digest], row.label)
            for digest in (one.digest, one.champion_digest)
        )
        better = won(our_score, their_score, tie_within=use_case.gate.tie_within)
        found.append(
            FreshRow(
                as_of=at,
                example_id=name,
                group_id=row.group_id,
                source=row.source,
                # which labels are right is known; of written answers, which one is better
                challenger_right=better > 0 if use_case.is_generation else our_score == 1,
                champion_right=better < 0 if use_case.is_generation else their_score == 1,
                # one that was drawn and that others labeled is no draw
                probability=row.probability if row.source == AUDIT else None,
                shown=judged.shown,
                recorded=judged.recorded,
                differs=judged.differs,
                customers=spoke[name],
                won_weight=weights[name].won,
                lost_weight=weights[name].lost,
            )
        )
    found = within_shares(use_case, found, at=at, before=before)
    pair = {"digest": one.digest, "champion_digest": one.champion_digest}
    with open_store(home.warehouse) as store:
        fresh_rows.add_evidence(store, use_case.name, found, **pair)
        trial = trials.as_trial(store, use_case.name, one, until=at)
    log.info("trial %d has %d fresh rows, %d from tonight", one.number, len(trial.rows), len(found))
    return trial


def recorded_answers(
    use_case: UseCase, home: Home, fresh: Sequence[Example], one: Standing
) -> dict[str, list[Served]]:
    """Example id → what the two answered when it was asked; of written answers nothing.

    Those are judged on texts that nobody had an answer to in sight (`fresh_examples`).
    """
    everything = [name for example in fresh for name in example.feedback_ids]
    with open_store(home.warehouse) as store:
        found = fresh_rows.served(
            store, use_case.name, everything, digests=(one.digest, one.champion_digest)
        )
    return {
        example.example_id: [a for name in example.feedback_ids for a in found.get(name, ())]
        for example in fresh
    }


@task(retries=3, retry_delay_seconds=2, retry_condition_fn=retry_if_transient)
def settle_trial(
    use_case: UseCase,
    home: Home,
    snapshot: Snapshot,
    *,
    at: datetime,
    trained: Trained,
    champion: Version | None,
    verdict: Verdict,
    standing: OnTrial | None,
    trial: Trial | None,
) -> Reason | None:
    """Write the verdict into the ledger; begin a trial, and end the one that is over.

    ``trained`` stood before the gate against ``champion``; ``standing`` and ``trial`` are the
    challenger on trial and what fresh rows say of it. Returns what became of a trial that was not
    before the gate itself, for the night's page; None when there was none.
    """
    kept = None if standing is None else _kept(use_case, standing, trial, trained)
    with open_store(home.warehouse) as store:
        trials.answered(store, use_case.name, as_of=at, decision=verdict.decision, kept=kept)
    told = None
    if standing is not None and standing.one.digest == trained.digest:
        if verdict.decision != "undecided":
            ending: Ending = "promoted" if verdict.decision == "promote" else "rejected"
            _end(use_case, home, standing.one, at=at, ending=ending)
        return None
    opened = verdict.decision == "undecided" and champion is not None and _compared(verdict)
    if standing is not None:
        ending_tonight, why = _tenure(use_case, standing, trial, trained, verdict, waits=opened)
        if ending_tonight:
            _end(use_case, home, standing.one, at=at, ending=ending_tonight)
        told = Reason("trial", None, _told(use_case, standing, trial, why))
        opened = opened and ending_tonight is not None
    if opened and champion is not None:
        _begin(use_case, home, snapshot, trained, champion, at=at)
    return told


def _begin(
    use_case: UseCase,
    home: Home,
    snapshot: Snapshot,
    trained: Trained,
    champion: Version,
    *,
    at: datetime,
) -> None:
    with open_store(home.warehouse) as store:
        trials.start(
            store,
            use_case.name,
            kind="challenge",
            as_of=at,
            digest=trained.digest,
            champion_digest=champion.digest,
            snapshot_id=snapshot.snapshot_id,
            adapter=Path(trained.adapter_dir).name,
            train_examples=trained.train_examples,
            rules=use_case.gate,
        )
    log.info("%s goes on trial", use_case.name)


def _end(use_case: UseCase, home: Home, one: Standing, *, at: datetime, ending: Ending) -> None:
    with open_store(home.warehouse) as store:
        trials.end(store, use_case.name, one, kind="challenge", as_of=at, ending=ending)


def _tenure(
    use_case: UseCase,
    standing: OnTrial,
    trial: Trial | None,
    newest: Trained,
    verdict: Verdict,
    *,
    waits: bool,
) -> tuple[Ending | None, str]:
    """How the trial ends tonight (None: not), and why; ``waits``: the newest wants its place."""
    if trial is None:
        return "superseded", "it ended: the champion was moved while it stood trial"
    if verdict.decision == "promote":
        return "superseded", "it ended: a newer challenger passed the gate"
    fate = trial_length.tonight(
        stand(trial, use_case.gate), bet=_was_bet_on(trial), limits=use_case.gate
    )
    if fate.ending is None and waits:
        place = _place_for(use_case, standing, trial, newest)
        if place:
            return "superseded", place
    return fate.ending, fate.why


def _place_for(use_case: UseCase, standing: OnTrial, trial: Trial, newest: Trained) -> str | None:
    """Why the one on trial gives its place to the newest; None when it does not."""
    return trial_length.gives_way(
        stand(trial, use_case.gate), **_places(use_case, standing, trial, newest)
    )


def _kept(
    use_case: UseCase, standing: OnTrial, trial: Trial | None, newest: Trained
) -> bool | None:
    """Whether its own rows keep the one on trial in its place; None where they do not decide."""
    if trial is None or newest.digest == standing.one.digest:
        return None
    return trial_length.keeps_by_its_rows(
        stand(trial, use_case.gate), **_places(use_case, standing, trial, newest)
    )


def _places(use_case: UseCase, standing: OnTrial, trial: Trial, newest: Trained) -> dict[str, Any]:
    """What decides a place on trial, beside how it stands."""
    return {
        "bet": _was_bet_on(trial),
        "examples": standing.one.train_examples,
        "newer_examples": newest.train_examples,
        "canary": use_case.serving.canary_share > 0,
        "limits": use_case.gate,
    }


def _was_bet_on(trial: Trial) -> bool:
    return bool(trial.rows or trial.canary)


def _told(use_case: UseCase, standing: OnTrial, trial: Trial | None, why: str) -> str:
    """The trial's stand and fate in words."""
    who = f"a challenger that learned from {standing.one.train_examples} examples"
    if trial is None:
        return f"trial {standing.one.number} of {who}: {why}"
    return f"{decision.told_of_trial(trial, use_case.gate)}, of {who}; {why}"


def _compared(verdict: Verdict) -> bool:
    """Whether all that is open is which of the two is better, or what a canary says of it."""
    open_rules = {r.rule for r in verdict.reasons if r.on and r.passed is not True}
    tried = {"better_than_champion", "canary"}
    return bool(open_rules & tried) and open_rules <= {*tried, "leave_one_out", "holdout_size"}
