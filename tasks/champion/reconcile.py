"""Carry out what people decided in MLflow, and mend what was left half done or cannot stand.

The alias says who is champion, `flywheel.store.nights.promotions` who should be. Where they differ,
a step of ours was killed half-way, or a person moved the alias: their move stands when the version
is what was measured. Afterwards there is one champion, and the log's last row names it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import datetime

from prefect import task

from flywheel.catalog import base_models
from flywheel.config import Home, UseCase
from flywheel.errors import ChampionMoved, DataError, DigestMismatch, ServedDiffers, StoreBusy
from flywheel.records import Action, Promotion, Settled
from flywheel.tracking.measured_versions import find
from flywheel.tracking.registry import CHAMPION, Registry
from flywheel.tracking.version_tags import (
    APPROVAL,
    APPROVED,
    JUDGED_AGAINST,
    MOVING,
    NO_CHAMPION,
    REJECTED,
    WAITING,
    VersionTags,
)
from flywheel.tracking.versions import Listed, Version
from tasks import retry_if_transient
from tasks.champion import trusted_versions
from tasks.champion.move import champions, intention, make_champion, promote_over, record
from tasks.coordination.locks import between_nights, moving_champion
from tasks.coordination.work_pool import DECISION
from tasks.verify import check_measured, check_served, holdout_sample

log = logging.getLogger(__name__)

SOMEBODY = "a person in MLflow"


@task(retries=3, retry_delay_seconds=5, retry_condition_fn=retry_if_transient)
def settle(use_case: UseCase, home: Home, *, at: datetime) -> Settled:
    """As `carry_out`, for a night, which holds the lock."""
    return carry_out(use_case, home, at=at)


def settle_if_free(use_case: UseCase, home: Home, *, at: datetime) -> Settled | None:
    """As `carry_out`; None when a night is running: decisions wait for its end."""
    with ExitStack() as held:
        try:
            held.enter_context(between_nights(home, use_case.name))
        except StoreBusy:
            log.info("%s: a night is running; nothing was settled", use_case.name)
            return None
        return carry_out(use_case, home, at=at)


def carry_out(use_case: UseCase, home: Home, *, at: datetime) -> Settled:
    """Reconcile alias and log, then carry out the decisions about versions that wait.

    The caller holds `tasks.coordination.locks.only_night` or
    `tasks.coordination.locks.between_nights`.

    Raises:
        RegistryUnavailable: MLflow did not answer; what was done stays done, again does the rest.
        DataError: the base is not complete, so that nothing can be compared. Nothing was changed.
        PoolUnusable: an approved version runs on the GPU pool, which has no free worker. The
            decision stays open, and the next settling asks again.
    """
    with moving_champion(home, use_case.name):
        trusted_versions.publish(home, use_case.name)
        mended = reconcile(use_case, home, at=at)
        decided = _decide(use_case, home, at=at)
    done = Settled(mended.promotions + decided.promotions, mended.notes + decided.notes)
    for note in done.notes:
        log.info("%s: %s", use_case.name, note)
    return done


# ---- The alias and the log


def reconcile(use_case: UseCase, home: Home, *, at: datetime) -> Settled:
    """Bring alias and log together; the caller holds `tasks.coordination.locks.moving_champion`."""
    registry = Registry(home)
    listed = {one.version: one for one in registry.versions(use_case.name)}
    known = champions(home, use_case.name)
    if not listed:
        lost = f"the log names version {known[-1].version} as champion" if known else ""
        return Settled(notes=(f"{lost}, but the registry has no version at all",) if lost else ())
    for entry in use_case.training.entries():
        if entry.base is not None:
            base_models.base_sha256(home.models / entry.base)
    holder = next((v for v, one in listed.items() if CHAMPION in one.aliases), None)
    begun = intention(listed[holder].record.moving) if holder else None
    done = []
    if holder and begun and begun not in known:
        # killed after the alias moved
        record(home, use_case.name, begun)
        known, done = [*known, begun], [begun]
    for version, one in listed.items():
        if one.record.moving is not None:
            registry.untag(use_case.name, version, MOVING)
    last = known[-1].version if known else None
    if holder == last and (holder is None or _is(listed[holder], known[-1])):
        return Settled(tuple(done), _older(use_case, home, listed, holder, at=at))
    if holder is None:
        why = _DELETED if known and _there(listed, known[-1]) else _VERSION_DELETED.format(last)
        step, notes = _restore(use_case, home, listed, known, at=at, found=None, why=why)
    elif (fault := fault_of(use_case, home, holder)) is not None:
        step, notes = _restore(use_case, home, listed, known, at=at, found=holder, why=fault)
    else:
        step, notes = _accept(use_case, home, listed[holder], last, at=at)
    return Settled((*done, *([step] if step else [])), tuple(notes))


def _older(
    use_case: UseCase, home: Home, listed: Mapping[str, Listed], holder: str | None, *, at: datetime
) -> tuple[str, ...]:
    """Verify a champion from before files were hashed, and keep its files; or say what is wrong."""
    if holder is None:
        return ()
    digest = listed[holder].record.digest
    found = find(trusted_versions.known(home, use_case.name), holder, digest)
    if found is not None and found.files is not None:
        return ()
    if (fault := fault_of(use_case, home, holder)) is not None:
        return (fault,)
    trusted_versions.confirm(home, Registry(home).by_version(use_case.name, holder), at=at)
    return ()


_DELETED = "the champion alias was deleted"
_VERSION_DELETED = "version {}, the champion, was deleted in MLflow"


def _is(one: Listed, step: Promotion) -> bool:
    """Whether a version is the one that a step made champion: MLflow may give a number twice."""
    return one.record.digest == step.digest


def _there(listed: Mapping[str, Listed], step: Promotion) -> bool:
    return step.version in listed and _is(listed[step.version], step)


def _accept(
    use_case: UseCase, home: Home, moved: Listed, last: str | None, *, at: datetime
) -> tuple[Promotion, list[str]]:
    """Record that a person moved the alias; to a version that waited, that is an approval."""
    version = Registry(home).by_version(use_case.name, moved.version)
    trusted_versions.confirm(home, version, at=at)
    waited = moved.record.awaiting_approval
    action: Action = "approved" if waited else "moved_by_hand"
    why = "the alias was moved to it in MLflow" + (" while it awaited approval" if waited else "")
    step = Promotion(at, action, version.version, version.digest, last, SOMEBODY, why)
    record(home, use_case.name, step)
    log.info("%s: version %s is champion, %s", use_case.name, version.version, why)
    notes = []
    if version.forgotten_in:
        notes.append(
            f"version {version.version}, now champion, learned from a person who was forgotten "
            f"since (certificate {version.forgotten_in})"
        )
    return step, notes


def _restore(
    use_case: UseCase,
    home: Home,
    listed: Mapping[str, Listed],
    known: list[Promotion],
    *,
    at: datetime,
    found: str | None,
    why: str,
) -> tuple[Promotion | None, list[str]]:
    """Put the alias back to the last champion that is what was measured.

    When none is, because a library was updated say, to the last one that there is: it will not
    answer, and says why.
    """
    there = (step.version for step in reversed(known) if _there(listed, step))
    past = [version for version in dict.fromkeys(there) if version != found]
    if not past:
        return None, [f"{why}; no champion before it is left to go back to"]
    target = next((v for v in past if fault_of(use_case, home, v) is None), past[0])
    version = Registry(home).by_version(use_case.name, target)
    step = Promotion(at, "restored", target, version.digest, found, "flywheel", why)
    make_champion(home, version, step)
    log.warning("%s: champion put back to version %s: %s", use_case.name, target, why)
    return step, []


def fault_of(use_case: UseCase, home: Home, number: str) -> str | None:
    """Why a version may not be champion; None when it may."""
    try:
        version = Registry(home).by_version(use_case.name, number)
        check_measured(use_case, home, version, as_written=False)
    except (DataError, DigestMismatch) as error:
        return str(error)
    return None


# ---- Decisions


def _decide(use_case: UseCase, home: Home, *, at: datetime) -> Settled:
    """Carry out the tags that people set, the newest version first."""
    registry = Registry(home)
    done: list[Promotion] = []
    notes: list[str] = []
    for one in reversed(registry.versions(use_case.name)):
        wish = one.record.wish
        decided = not wish or one.record.approval_result is not None
        if decided and not one.record.awaiting_approval:
            continue
        step, result = _outcome(use_case, home, one, wish, at=at)
        if result is None:
            if wish:
                notes.append(
                    f"version {one.version}: its tag {APPROVAL} is {wish!r}, expected "
                    f"{APPROVED} or {REJECTED}"
                )
            continue
        if step:
            done.append(step)
        registry.tag(use_case.name, one.version, VersionTags(approval_result=result).written())
        # only what a person rejected is not asked again when a night finds the same
        again = () if wish == REJECTED else (JUDGED_AGAINST,)
        registry.untag(use_case.name, one.version, WAITING, *again)
        notes.append(f"version {one.version}: {result}")
    return Settled(tuple(done), tuple(notes))


def _outcome(
    use_case: UseCase, home: Home, one: Listed, wish: str, *, at: datetime
) -> tuple[Promotion | None, str | None]:
    """What comes of a decision, with the step when the champion moved; no words: still open."""
    who, when = one.record.approved_by or SOMEBODY, f"{at:%Y-%m-%d %H:%M} UTC"
    if CHAMPION in one.aliases:
        return None, f"carried out: it is the champion ({when})"
    if wish == REJECTED:
        return None, f"rejected by {who} ({when})"
    if not one.record.awaiting_approval:
        return None, (
            f"ignored: it does not await approval, its verdict was {one.record.verdict}; "
            "to override, move the alias"
        )
    champion = Registry(home).champion(use_case.name) or NO_CHAMPION
    against = one.record.judged_against
    if against != champion:
        return None, (
            f"withdrawn: it was compared with version {against}, the champion is version "
            f"{champion} now; the next night compares anew ({when})"
        )
    if wish != APPROVED:
        return None, None
    if one.record.verdict != "promote":
        return None, f"refused: its verdict was {one.record.verdict} ({when})"
    told = trusted_versions.verdict_of(home, use_case.name, one.version, one.record.digest)
    if told not in (None, "promote"):
        return None, (
            f"refused: its tag says that its verdict was promote, the warehouse says {told} "
            f"({when})"
        )
    try:
        version = Registry(home).by_version(use_case.name, one.version)
        step = _approve(use_case, home, version, against=against, at=at, who=who)
    except (ChampionMoved, DataError, DigestMismatch, ServedDiffers) as error:
        return None, f"refused: {error}"
    return step, f"carried out: approved by {who} ({when})"


def _approve(
    use_case: UseCase, home: Home, version: Version, *, against: str, at: datetime, who: str
) -> Promotion | None:
    # the digest is compared before the alias moves; the answers too, where the holdout is still
    # here
    if expected := holdout_sample(use_case, home, version):
        check_served(use_case, home, version, expected, patience=DECISION)
    return promote_over(
        use_case,
        home,
        version,
        against=None if against == NO_CHAMPION else against,
        at=at,
        action="approved",
        who=who,
        why="the verdict was to promote, and a person agreed",
    )
