"""Keep a challenger on trial night after night, until fresh rows decide on it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from prefect import task

from flywheel import comparison, snapshots, training
from flywheel.config import Home, UseCase
from flywheel.records import Example, FreshRow, Question, Reason, Snapshot, Trained, Trial, Verdict
from flywheel.registry import CHAMPION, Registry, Version
from flywheel.store import open_store, trials
from flywheel.store.promotions import promotions
from flywheel.store.trials import Ending, Standing
from tasks import retry_if_transient
from tasks.evaluate import ask, describe, right
from tasks.lock import moving_champion
from tasks.move import promote_over

log = logging.getLogger(__name__)

UNWATCHED = ("rolled_back", "braked", "restored")
"""A champion that came back by one of these is not asked whether its successor was better."""


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
        forgotten = store.retrain_wanted(use_case.name)
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
    found = [
        FreshRow(
            as_of=at,
            example_id=name,
            group_id=row.group_id,
            source=row.source,
            challenger_right=right(ours[name], row.label),
            champion_right=right(theirs[name], row.label),
            probability=row.probability,
        )
        for name, row in rows.items()
    ]
    pair = {"digest": one.digest, "champion_digest": one.champion_digest}
    with open_store(home.warehouse) as store:
        trials.add_evidence(store, use_case.name, found, **pair)
        kept = trials.evidence(store, use_case.name, **pair)
    log.info("trial %d has %d fresh rows, %d from tonight", one.number, len(kept), len(found))
    return Trial(one.number, one.alpha, tuple(row for row in kept if row.as_of <= at))


def fresh_examples(
    use_case: UseCase, home: Home, snapshot: Snapshot, one: Standing
) -> list[Example]:
    """Examples of tonight whose labels all came after the trial began, from sources that count.

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
        seen = trials.seen_before(store, use_case.name, everything, started=one.started_as_of)
        texts, clusters = trials.known_texts(store, use_case.name, [one.snapshot_id])
        origins = trials.origins(store, use_case.name, everything)
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
    """Whether all that is open is which of the two is better."""
    open_rules = {r.rule for r in verdict.reasons if r.on and r.passed is not True}
    return open_rules == {"better_than_champion"} or open_rules == {
        "better_than_champion",
        "leave_one_out",
    }


# ---- The brake


@task(timeout_seconds=6 * 3_600)
def watch_champion(
    use_case: UseCase, home: Home, snapshot: Snapshot, *, at: datetime
) -> Reason | None:
    """Whether fresh rows show the champion worse than its predecessor; None: there is none to ask.

    The predecessor is asked for `gate.brake_nights` nights with fresh rows. The bet is the gate's
    own, turned round. With ``brake: rollback`` the champion alias goes back to it.
    """
    if use_case.gate.brake == "off":
        return Reason("brake", None, "switched off (gate.brake)", on=False)
    watched = _watched(use_case, home, snapshot, at=at)
    if watched is None:
        return None
    one, before, champion = watched
    contenders = {"the predecessor": before.adapter_dir, "the champion": champion.adapter_dir}
    trial = compare_on_fresh_rows(use_case, home, snapshot, one, contenders, at=at)
    stands = comparison.progress(trial, by_row=use_case.gate.unit == "row")
    detail = (
        f"on {stands.rows} fresh rows of {stands.nights} nights the predecessor, version "
        f"{before.version}, answered {100 * stands.gain:+.1f} points better "
        f"({100 * stands.low:+.1f} to {100 * stands.high:+.1f})"
    )
    if not stands.proven:
        if stands.nights >= use_case.gate.brake_nights:
            _end_watch(use_case, home, one, at=at, ending="over")
        return Reason("brake", True, f"{detail}: not proven")
    if use_case.gate.brake == "rollback":
        with moving_champion(home, use_case.name):
            promote_over(
                use_case,
                home,
                before,
                against=champion.version,
                at=at,
                action="braked",
                who="flywheel",
                why=detail,
            )
        detail += ": proven, and rolled back"
    else:
        detail += f": proven; flywheel rollback -u {use_case.name}"
    _end_watch(use_case, home, one, at=at, ending="braked")
    return Reason("brake", False, detail)


def _watched(
    use_case: UseCase, home: Home, snapshot: Snapshot, *, at: datetime
) -> tuple[Standing, Version, Version] | None:
    """The watch that runs, the predecessor and the champion; a new champion begins one."""
    registry = Registry(home)
    with open_store(home.warehouse) as store:
        last = promotions(store, use_case.name)[-1:]
    champion = registry.by_alias(use_case.name, CHAMPION)
    if not last or champion is None or last[0].before is None:
        return None
    if last[0].version != champion.version or last[0].action in UNWATCHED:
        return None
    before = registry.by_version(use_case.name, last[0].before)
    pair = {"digest": before.digest, "champion_digest": champion.digest}
    with open_store(home.warehouse) as store:
        trials.start(
            store,
            use_case.name,
            kind="brake",
            as_of=last[0].at,
            snapshot_id=champion.snapshot_id,
            adapter=before.adapter_dir.name,
            train_examples=snapshot.train,
            rules=use_case.gate,
            **pair,
        )
        one = trials.of_pair(store, use_case.name, kind="brake", **pair)
    if one is None or one.ended_as_of not in (None, at) or one.ending == "over":
        return None
    return one, before, champion


def _end_watch(
    use_case: UseCase, home: Home, one: Standing, *, at: datetime, ending: Ending
) -> None:
    with open_store(home.warehouse) as store:
        trials.end(store, use_case.name, one, kind="brake", as_of=at, ending=ending)
