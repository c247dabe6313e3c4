"""Watch a new champion beside its predecessor, and go back where fresh rows show it worse."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime

from prefect import task

from flywheel.config import Home, UseCase
from flywheel.errors import DataError, DigestMismatch
from flywheel.gate import trial_progress
from flywheel.gate.trial_length import Ending
from flywheel.influence import quorum
from flywheel.records import Example, Promotion, Reason, Snapshot, Trial
from flywheel.store import Store, open_store
from flywheel.store.nights import trials
from flywheel.store.nights.promotions import promotions
from flywheel.store.nights.trials import Standing
from flywheel.tracking.registry import Registry
from flywheel.tracking.versions import Version
from tasks.champion.move import promote_over
from tasks.coordination.locks import moving_champion
from tasks.opponent import as_asked
from tasks.trial import compare_on_fresh_rows
from tasks.verify import check_measured

log = logging.getLogger(__name__)

UNWATCHED = ("rolled_back", "braked", "restored", "remeasured")
"""A champion that came back by one of these is not asked whether its successor was better."""


@task(timeout_seconds=6 * 3_600)
def watch_champion(
    use_case: UseCase, home: Home, snapshot: Snapshot, *, at: datetime
) -> Reason | None:
    """Whether fresh rows show the champion worse than its predecessor; None: there is none to ask.

    The predecessor is asked for `gate.brake_nights` nights with fresh rows. The bet is the gate's
    own, turned round. With ``brake: rollback`` the champion alias goes back to it, once: where a
    person put the champion back, that stands. As long as a champion serves that was shown to be
    worse, each night says so.

    The rows are kept before the alias moves and the watch ends after it, so that a night killed
    anywhere between brakes again, or finds it done;
    `flywheel.tracking.champion_history.untold_brakes` is how the next night to end tells of it.
    """
    return watch(use_case, home, snapshot, snapshot, at=at)


def watch(
    use_case: UseCase,
    home: Home,
    snapshot: Snapshot,
    tonight: Snapshot | Sequence[Example],
    *,
    at: datetime,
) -> Reason | None:
    """As `watch_champion`; a watch begins with ``snapshot``, and ``tonight`` has the fresh rows."""
    if use_case.gate.brake == "off":
        return Reason("brake", None, "switched off (gate.brake)", on=False)
    with open_store(home.warehouse) as store:
        moves = promotions(store, use_case.name)
    _settle(use_case, home, moves)
    watched = _watched(use_case, home, snapshot, moves, at=at)
    if watched is None or isinstance(watched, Reason):
        return watched
    one, before, champion = watched
    if one.ending == "braked":
        trial = _as_it_ended(use_case, home, one)
    else:
        contenders = {
            "the predecessor": (_own(use_case, home, before), before.adapter_dir),
            "the champion": (_own(use_case, home, champion), champion.adapter_dir),
        }
        trial = compare_on_fresh_rows(use_case, home, tonight, one, contenders, at=at)
    jury = quorum.Quorum.of(use_case.gate)
    stands = trial_progress.progress(trial, by_row=use_case.gate.unit == "row", quorum=jury)
    detail = (
        f"on {stands.rows} fresh rows of {stands.nights} nights the predecessor, version "
        f"{before.version}, answered {100 * stands.gain:+.1f} points better "
        f"({100 * stands.low:+.1f} to {100 * stands.high:+.1f})"
    )
    if assumed := quorum.in_words(trial, jury, alpha=use_case.gate.brake_alpha):
        detail += f"; {assumed}"
    if not stands.proven:
        if stands.nights >= use_case.gate.brake_nights:
            _end(use_case, home, one, at=at, ending="over")
        return Reason("brake", True, f"{detail}: not proven")
    by_hand = f"to go back: flywheel rollback -u {use_case.name} --yes"
    if use_case.gate.brake == "warn":
        done = f"proven; {by_hand}"
    elif any(_went_back(move, before, champion) for move in moves):
        done = f"proven, and rolled back before; it was put back since, which stands; {by_hand}"
    elif _put_back(moves):
        to = f"flywheel rollback -u {use_case.name} --to {before.version} --yes"
        done = f"proven; somebody went back to the champion, which stands; to undo that: {to}"
    else:
        done = _go_back(use_case, home, before, champion, at=at, why=detail)
    _end(use_case, home, one, at=at, ending="braked")
    return Reason("brake", False, f"{detail}: {done}")


def _go_back(
    use_case: UseCase, home: Home, before: Version, champion: Version, *, at: datetime, why: str
) -> str:
    """Make the predecessor champion again; what came of it, in words."""
    try:
        with moving_champion(home, use_case.name):
            promote_over(
                use_case,
                home,
                before,
                against=champion.version,
                at=at,
                action="braked",
                who="flywheel",
                why=why,
            )
    except (DataError, DigestMismatch) as error:
        log.warning("%s: the brake could not go back: %s", use_case.name, error)
        return f"proven, but it cannot be champion again. {error}"
    return "proven, and rolled back"


def _went_back(move: Promotion, before: Version, champion: Version) -> bool:
    pair = (before.version, champion.version)
    return move.action == "braked" and (move.version, move.before) == pair


def _put_back(moves: list[Promotion]) -> bool:
    """Whether a person made one that was champion before the champion again."""
    *before, last = moves
    was = {version for move in before for version in (move.version, move.before)}
    return last.action == "moved_by_hand" and last.version in was


def _settle(use_case: UseCase, home: Home, moves: list[Promotion]) -> None:
    """End the watches whose night was killed after it had gone back."""
    digests = {move.version: move.digest for move in moves}
    with open_store(home.warehouse) as store:
        for one in trials.trials(store, use_case.name, kind="brake"):
            pair = (one.digest, one.champion_digest)
            for move in moves:
                if (
                    move.action == "braked"
                    and (move.digest, digests.get(move.before or "")) == pair
                ):
                    trials.end(
                        store, use_case.name, one, kind="brake", as_of=move.at, ending="braked"
                    )


def _watched(
    use_case: UseCase, home: Home, snapshot: Snapshot, moves: list[Promotion], *, at: datetime
) -> tuple[Standing, Version, Version] | Reason | None:
    """The watch that runs or was proven, the predecessor and the champion; a new one begins it.

    Where one of both is gone, or is not what was measured any more, the watch is over: a reason
    says so, once.
    """
    registry = Registry(home)
    last = moves[-1] if moves else None
    if last is None or last.before is None or last.action in UNWATCHED:
        return None
    # before its files are asked for: a champion that is gone is told of where it is compared
    if registry.champion(use_case.name) != last.version:
        return None
    try:
        champion = registry.by_version(use_case.name, last.version)
        before = registry.by_version(use_case.name, last.before)
        if not _was_proven(use_case, home, before, champion):
            for version in (before, champion):
                check_measured(use_case, home, version, as_written=False)
    except (DataError, DigestMismatch) as error:
        return _unwatched(use_case, home, snapshot, moves, str(error), at=at)
    pair = {"digest": before.digest, "champion_digest": champion.digest}
    learned = {"snapshot_id": champion.snapshot_id, "adapter": before.adapter_dir.name}
    with open_store(home.warehouse) as store:
        one = _begun(store, use_case, pair, learned, at=last.at, examples=snapshot.train)
    return None if one is None or one.ending == "over" else (one, before, champion)


def _unwatched(
    use_case: UseCase,
    home: Home,
    snapshot: Snapshot,
    moves: list[Promotion],
    why: str,
    *,
    at: datetime,
) -> Reason | None:
    """End a watch that cannot go on; None where a night has said so before, or it was over."""
    last = moves[-1]
    digest = next((m.digest for m in reversed(moves[:-1]) if m.version == last.before), None)
    if digest is None:
        return None
    pair = {"digest": digest, "champion_digest": last.digest}
    learned = {"snapshot_id": snapshot.snapshot_id, "adapter": ""}
    with open_store(home.warehouse) as store:
        one = _begun(store, use_case, pair, learned, at=last.at, examples=snapshot.train)
        if one is not None and one.ending == "braked":
            detail = f"proven worse than its predecessor, which cannot come back: {why} "
            other = f"flywheel rollback -u {use_case.name} --to VERSION --yes takes another version"
            return Reason("brake", False, detail + other)
        if one is None or (one.ended_as_of is not None and one.ended_as_of != at):
            return None
        trials.end(store, use_case.name, one, kind="brake", as_of=at, ending="over")
    return Reason("brake", True, f"the champion is not watched beside its predecessor: {why}")


def _begun(
    store: Store,
    use_case: UseCase,
    pair: Mapping[str, str],
    learned: Mapping[str, str],
    *,
    at: datetime,
    examples: int,
) -> Standing | None:
    """The watch over a ``pair`` of digests; begun if it was not, with what it ``learned`` from."""
    trials.start(
        store,
        use_case.name,
        kind="brake",
        as_of=at,
        train_examples=examples,
        rules=use_case.gate,
        **pair,
        **learned,
    )
    return trials.of_pair(store, use_case.name, kind="brake", **pair)


def _was_proven(use_case: UseCase, home: Home, before: Version, champion: Version) -> bool:
    pair = {"digest": before.digest, "champion_digest": champion.digest}
    with open_store(home.warehouse) as store:
        one = trials.of_pair(store, use_case.name, kind="brake", **pair)
    return one is not None and one.ending == "braked"


def _own(use_case: UseCase, home: Home, version: Version) -> UseCase:
    return as_asked(use_case, version.served_use_case())


def _as_it_ended(use_case: UseCase, home: Home, one: Standing) -> Trial:
    with open_store(home.warehouse) as store:
        rows = trials.evidence(store, use_case.name, one)
    return Trial.of(one.number, one.alpha, rows)


def _end(use_case: UseCase, home: Home, one: Standing, *, at: datetime, ending: Ending) -> None:
    with open_store(home.warehouse) as store:
        trials.end(store, use_case.name, one, kind="brake", as_of=at, ending=ending)
