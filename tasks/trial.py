"""Keep a challenger on trial night after night, until fresh rows decide on it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from prefect import task

from flywheel import served, snapshots, training
from flywheel.comparison import won
from flywheel.config import Home, UseCase
from flywheel.records import (
    Example,
    FreshRow,
    Question,
    Served,
    Snapshot,
    Trained,
    Trial,
    Verdict,
)
from flywheel.registry import CHAMPION, Registry, Version
from flywheel.store import diary, fresh_rows, open_store, trials
from flywheel.store.trials import Ending, Standing
from tasks import retry_if_transient
from tasks.evaluate import ask, describe, marked

log = logging.getLogger(__name__)


@task(retries=3, retry_delay_seconds=5, retry_condition_fn=retry_if_transient)
def challenger_on_trial(
    use_case: UseCase, home: Home, snapshot: Snapshot, *, at: datetime
) -> Trained | None:
    """The challenger whose trial goes on tonight; None when a new one is to be trained.

    A trial ends without a verdict when the champion has changed, when somebody whom the challenger
    learned from is to be forgotten, or when there is so much more to learn from that a new
    challenger should (`gate.restart_growth`).
    """
    with open_store(home.warehouse) as store:
        one = trials.standing(store, use_case.name, kind="challenge", as_of=at)
        forgotten = diary.retrain_wanted(store, use_case.name)
    if one is None or one.ending == "superseded":
        return None
    champion = Registry(home).by_alias(use_case.name, CHAMPION)
    same = champion is not None and champion.digest in (one.champion_digest, one.digest)
    grown = snapshot.train >= one.train_examples * (1 + use_case.gate.restart_growth)
    folder = home.adapters / one.adapter
    if same and not grown and not forgotten and (folder / training.COMPLETE).is_file():
        return training.read_trained(folder)
    with open_store(home.warehouse) as store:
        trials.end(store, use_case.name, one, kind="challenge", as_of=at, ending="superseded")
    log.info("trial %d of %s gives way to a new challenger", one.number, use_case.name)
    return None


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
    """Spend what a question to the exam costs tonight; None when there is none to ask."""
    with open_store(home.warehouse) as store:
        return trials.ask(
            store,
            use_case.name,
            as_of=at,
            digest=digest,
            champion_digest=champion.digest if champion else None,
            rows=snapshot.exam,
            rules=use_case.gate,
        )


@task(timeout_seconds=6 * 3_600)
def gather_evidence(
    use_case: UseCase,
    home: Home,
    snapshot: Snapshot,
    trained: Trained,
    *,
    at: datetime,
    champion: Version | None,
) -> Trial | None:
    """Ask both contenders of a trial tonight's fresh rows; None when there is no trial."""
    with open_store(home.warehouse) as store:
        one = trials.standing(store, use_case.name, kind="challenge", as_of=at)
    if one is None or champion is None:
        return None
    if (one.digest, one.champion_digest) != (trained.digest, champion.digest):
        return None
    contenders = {"the challenger": Path(trained.adapter_dir), "the champion": champion.adapter_dir}
    return compare_on_fresh_rows(use_case, home, snapshot, one, contenders, at=at)


def compare_on_fresh_rows(
    use_case: UseCase,
    home: Home,
    snapshot: Snapshot,
    one: Standing,
    contenders: Mapping[str, Path],
    *,
    at: datetime,
) -> Trial:
    """Ask the two ``contenders`` what is fresh tonight, keep who was right, return the trial."""
    fresh = fresh_examples(use_case, home, snapshot, one)
    rows = describe(use_case, home, fresh)
    texts = {e.example_id: e.text for e in fresh if e.example_id in rows}
    ours, theirs = (
        ask(use_case, home, adapter, texts, name=name) for name, adapter in contenders.items()
    )
    answered = recorded_answers(use_case, home, [e for e in fresh if e.example_id in rows], one)
    found = []
    for name, row in rows.items():
        heard = served.hear(
            answered[name],
            {one.digest: ours[name], one.champion_digest: theirs[name]},
            challenger=one.digest,
        )
        our_mark, their_mark = (
            marked(use_case, heard.answers[digest], row.label)
            for digest in (one.digest, one.champion_digest)
        )
        better = won(our_mark, their_mark, tie_within=use_case.gate.tie_within)
        found.append(
            FreshRow(
                as_of=at,
                example_id=name,
                group_id=row.group_id,
                source=row.source,
                # which labels are right is known; of written answers, which one is better
                challenger_right=better > 0 if use_case.generates else our_mark == 1,
                champion_right=better < 0 if use_case.generates else their_mark == 1,
                probability=row.probability,
                shown=heard.shown,
                recorded=heard.recorded,
                differs=heard.differs,
            )
        )
    pair = {"digest": one.digest, "champion_digest": one.champion_digest}
    with open_store(home.warehouse) as store:
        fresh_rows.add_evidence(store, use_case.name, found, **pair)
        kept = fresh_rows.evidence(store, use_case.name, **pair)
    log.info("trial %d has %d fresh rows, %d from tonight", one.number, len(kept), len(found))
    return Trial.of(one.number, one.alpha, (row for row in kept if row.as_of <= at))


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


def fresh_examples(
    use_case: UseCase, home: Home, snapshot: Snapshot, one: Standing
) -> list[Example]:
    """Examples of tonight whose labels all came after the trial began, from sources that count.

    Of written answers only those that were written without one in sight: who edits an answer stays
    near it, and would speak for the model that gave it.
    Nothing equal or almost alike was in what either contender learned from.
    """
    rules = use_case.curation
    counted = {
        *rules.gold_sources,
        *rules.trusted_sources,
        "audit",
        *use_case.gate.evidence_sources,
    }
    examples = snapshots.read(home.snapshots, snapshot.snapshot_id)
    everything = [name for example in examples for name in example.feedback_ids]
    with open_store(home.warehouse) as store:
        seen = fresh_rows.seen_before(store, use_case.name, everything, started=one.started_as_of)
        texts, clusters = fresh_rows.known_texts(store, use_case.name, [one.snapshot_id])
        origins = fresh_rows.origins(store, use_case.name, everything)
        answered = fresh_rows.about_answers(store, use_case.name, everything)
    if use_case.generates:
        seen |= answered
    return [
        example
        for example in examples
        if example.label is not None
        and example.example_id not in texts
        and example.cluster_id not in clusters
        and not seen.intersection(example.feedback_ids)
        and all(origins.get(name, ("",))[0] in counted for name in example.feedback_ids)
    ]


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
) -> None:
    """Write the verdict into the ledger; begin a trial, or end the one that is decided."""
    with open_store(home.warehouse) as store:
        trials.answered(store, use_case.name, as_of=at, decision=verdict.decision)
        one = trials.standing(store, use_case.name, kind="challenge", as_of=at)
        pair = (trained.digest, champion.digest if champion else None)
        if one is not None and (one.digest, one.champion_digest) == pair:
            if verdict.decision != "undecided":
                ending: Ending = "promoted" if verdict.decision == "promote" else "rejected"
                trials.end(store, use_case.name, one, kind="challenge", as_of=at, ending=ending)
            return
        if one is not None and one.ended_as_of is None:
            # the champion was moved between the two while it stood trial
            trials.end(store, use_case.name, one, kind="challenge", as_of=at, ending="superseded")
        if verdict.decision == "undecided" and champion is not None and _compared(verdict):
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


def _compared(verdict: Verdict) -> bool:
    """Whether all that is open is which of the two is better, or what a canary says of it."""
    open_rules = {r.rule for r in verdict.reasons if r.on and r.passed is not True}
    tried = {"better_than_champion", "canary"}
    return bool(open_rules & tried) and open_rules <= {*tried, "leave_one_out"}
