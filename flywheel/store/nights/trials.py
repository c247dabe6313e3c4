"""What the gate has asked and learned: questions to the holdout, and trials on fresh rows.

All of it is written before it is acted on, and writing it again changes nothing, so that a night
that was killed and lives again asks the same question and comes to the same verdict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal

from flywheel.config import GateConfig
from flywheel.gate import trial_progress
from flywheel.gate.trial_length import Ending
from flywheel.influence.quorum import Quorum, log_levels
from flywheel.records import Decision, EarlierTrial, FreshRow, Question, Trial
from flywheel.stats import alpha_budget
from flywheel.stats.alpha_budget import Told
from flywheel.store.arrow_columns import from_us
from flywheel.store.migrations import transaction
from flywheel.store.nights import fresh_rows
from flywheel.store.warehouse import Store

Kind = Literal["challenge", "brake"]

_ASKED = """
SELECT
    epoch_us(as_of),
    digest,
    champion_digest,
    number,
    told,
    alpha,
    rows,
    decision,
    share,
    kept
FROM questions
WHERE use_case = $use_case
ORDER BY as_of
"""
_ASK = """
INSERT OR IGNORE INTO questions
VALUES (
    $use_case, $as_of, $digest, $champion, $number, $told, $alpha, $rows, NULL, $share, NULL
)
"""
_ANSWERED = """
UPDATE questions SET decision = $decision, kept = $kept
WHERE use_case = $use_case AND as_of = $as_of
"""
_TRIALS = """
SELECT
    digest,
    champion_digest,
    number,
    alpha,
    snapshot_id,
    adapter,
    train_examples,
    epoch_us(started_as_of),
    epoch_us(ended_as_of),
    ending,
    epoch_us(seen_until),
    adds_up
FROM trials
WHERE use_case = $use_case AND kind = $kind
ORDER BY number, started_as_of
"""
_START = """
INSERT OR IGNORE INTO trials
VALUES (
    $use_case, $kind, $digest, $champion, $number, $alpha, $snapshot, $adapter, $examples,
    $started, NULL, NULL, NULL, $kind = 'challenge'
)
"""
_END = """
UPDATE trials SET ended_as_of = $as_of, ending = $ending
WHERE use_case = $use_case AND kind = $kind AND digest = $digest AND champion_digest = $champion
    AND (ended_as_of IS NULL OR ended_as_of = $as_of)
"""


@dataclass(frozen=True)
class Asked:
    """One verdict's question to the holdout, as the ledger keeps it.

    ``share`` is what it took of the holdout's budget, None where nothing was compared. ``kept``
    says whether who stood trial kept its place for what its own rows say; None where they did not
    decide that.
    """

    as_of: datetime
    digest: str
    champion_digest: str | None
    number: int
    verdicts_so_far: int
    alpha: float | None
    rows: int
    decision: Decision | None
    share: float | None = None
    kept: bool | None = None


@dataclass(frozen=True)
class Standing:
    """A trial as it was begun. For a brake, ``digest`` is the predecessor's.

    ``seen_until`` is the newest night when somebody was forgotten whose rows it had bet on.
    ``adds_up``: whether its level adds up with those before against the same champion; not in a
    brake, nor of trials before 0.2.0, whose levels held what the one before had left.
    """

    digest: str
    champion_digest: str
    number: int
    alpha: float
    snapshot_id: str
    adapter: str
    train_examples: int
    started_as_of: datetime
    ended_as_of: datetime | None = None
    ending: Ending | None = None
    seen_until: datetime | None = None
    adds_up: bool | None = None

    @property
    def fresh_since(self) -> datetime:
        """What a snapshot had seen by then is not fresh, unless it was bet on already."""
        return max(self.started_as_of, self.seen_until or self.started_as_of)

    def stood(self, as_of: datetime) -> bool:
        """Whether the trial was under way in this night."""
        return self.started_as_of < as_of and (
            self.ended_as_of is None or as_of <= self.ended_as_of
        )


# ---- Questions


def asked(store: Store, use_case: str) -> list[Asked]:
    """Every question so far, the oldest first."""
    return [Asked(from_us(row[0]), *row[1:]) for row in store.rows(_ASKED, {"use_case": use_case})]


def ask(
    store: Store,
    use_case: str,
    *,
    as_of: datetime,
    digest: str,
    champion_digest: str | None,
    rows: int,
    rules: GateConfig,
) -> Question | None:
    """Spend from the ledger, before the answer is known, what a question costs tonight.

    None when there is nothing to compare (no champion), or when this pair has asked before; either
    way the night tells a verdict, which counts. A night that lives again is granted the same for
    the same question, and nothing for another one: its level was spent.
    """
    every = asked(store, use_case)
    lived = next((one for one in every if one.as_of == as_of), None)
    if lived is not None:
        same = (lived.digest, lived.champion_digest, lived.rows) == (digest, champion_digest, rows)
        return Question(lived.number, lived.alpha) if same and lived.alpha is not None else None
    before = told(store, use_case)
    pairs = {(one.digest, one.champion_digest) for one in every}
    question = share = None
    if champion_digest is not None and (digest, champion_digest) not in pairs:
        number, left = 1 + sum(one.alpha is not None for one in every), unspent(every)
        budget = rules.alpha * rules.holdout_share
        share = alpha_budget.question_share(number, left)
        level = alpha_budget.question_alpha(number, before.chance, budget=budget, left=left)
        question = Question(number, level)
    asking: dict[str, Any] = {
        "use_case": use_case,
        "as_of": as_of,
        "digest": digest,
        "champion": champion_digest,
        "number": question.number if question else 0,
        "told": len(before.moved) + len(before.refuted),
        "share": share,
        "alpha": question.alpha if question else None,
        "rows": rows,
    }
    with transaction(store.con):
        store.con.execute(_ASK, asking)
    return question


def told(store: Store, use_case: str) -> Told:
    """What verdicts have told of the holdout so far, and trials beside them.

    A night that was killed before its verdict told none. Of 0.1.0's trials it is taken that each
    night told whether they kept their place.
    """
    nights, every = asked(store, use_case), trials(store, use_case, kind="challenge")
    beside = [(night, one) for night in nights for one in every if one.stood(night.as_of)]
    stood = {night.as_of for night, _ in beside}
    before = {night.as_of for night, one in beside if not one.adds_up}
    refuted = {
        night.as_of
        for night, one in beside
        if one.ending == "rejected" and one.ended_as_of == night.as_of
    }
    return Told(
        moved=tuple(night.decision in ("promote", "reject") for night in nights),
        refuted=tuple(night.as_of in refuted for night in nights if night.as_of in stood),
        kept=tuple(
            night.kept is not False
            for night in nights
            if night.kept is not None or night.as_of in before
        ),
    )


def unspent(nights: Sequence[Asked]) -> float:
    """Share of the holdout's budget that is left for further questions, in [0, 1]."""
    return alpha_budget.unspent(night.share for night in nights)


def answered(
    store: Store, use_case: str, *, as_of: datetime, decision: Decision, kept: bool | None = None
) -> None:
    """Keep what the gate decided on the night's question; nothing if it asked none.

    ``kept`` as in `Asked`.
    """
    here = {"use_case": use_case, "as_of": as_of, "decision": decision, "kept": kept}
    with transaction(store.con):
        store.con.execute(_ANSWERED, here)


# ---- Trials


def trials(store: Store, use_case: str, *, kind: Kind) -> list[Standing]:
    """Every trial of a kind, the oldest first."""
    names = [field.name for field in fields(Standing)]
    found = []
    for row in store.rows(_TRIALS, {"use_case": use_case, "kind": kind}):
        facts = dict(zip(names, row, strict=True))
        for moment in ("started_as_of", "ended_as_of", "seen_until"):
            facts[moment] = None if facts[moment] is None else from_us(facts[moment])
        found.append(Standing(**facts))
    return found


def standing(store: Store, use_case: str, *, kind: Kind, as_of: datetime) -> Standing | None:
    """The trial that runs, or that ended in this very night; None when there is none.

    A challenge whose level a later one has bet with does not come back when its last night is
    lived again: both would bet the same.
    """
    every = trials(store, use_case, kind=kind)
    for one in reversed(every):
        if one.started_as_of < as_of and one.ended_as_of in (None, as_of):
            later = [other for other in every if other.started_as_of >= as_of]
            spent = kind == "challenge" and one.ended_as_of is not None
            if spent and any(_was_bet_on(store, use_case, other) for other in later):
                return None
            return one
    return None


def of_pair(
    store: Store, use_case: str, *, kind: Kind, digest: str, champion_digest: str
) -> Standing | None:
    """The trial of these two, whether it runs or not."""
    for one in trials(store, use_case, kind=kind):
        if (one.digest, one.champion_digest) == (digest, champion_digest):
            return one
    return None


def evidence(store: Store, use_case: str, one: Standing) -> list[FreshRow]:
    """The fresh rows of a trial, by night: those that came after it began, until it ended.

    The same two can stand in a challenge and, once both were champion, in a brake. Rows of the one
    are no evidence in the other.
    """
    pair = {"digest": one.digest, "champion_digest": one.champion_digest}
    return [row for row in fresh_rows.evidence(store, use_case, **pair) if one.stood(row.as_of)]


def as_trial(store: Store, use_case: str, one: Standing, *, until: datetime | None = None) -> Trial:
    """What fresh rows say of a trial, with the earlier ones whose levels add up with its own.

    ``until`` is the newest night that counts; None: all.
    """
    rows_of_own = evidence(store, use_case, one)
    before = _adding_up(trials(store, use_case, kind="challenge"), one) if one.adds_up else []
    parts: dict[int, EarlierTrial] = {}
    for other in before:
        bets = Trial.of(1, 1.0, evidence(store, use_case, other)).rows
        # a night that was lived again may have let two bet under one number, which is one level
        rows = (*parts[other.number].rows, *bets) if other.number in parts else bets
        if rows:
            parts[other.number] = EarlierTrial(other.alpha, rows)
    return Trial.of(
        one.number,
        one.alpha,
        (row for row in rows_of_own if until is None or row.as_of <= until),
        earlier=parts.values(),
    )


def bet_before(store: Store, use_case: str, one: Standing) -> list[FreshRow]:
    """The rows that the trial has bet on, and those of trials whose levels add up with its own."""
    every = trials(store, use_case, kind="challenge")
    before = _adding_up(every, one) if one.adds_up else []
    return [row for other in (*before, one) for row in evidence(store, use_case, other)]


def _adding_up(every: Sequence[Standing], one: Standing) -> list[Standing]:
    """The trials before ``one`` whose levels add up with its own: of the same champion, unbroken.

    What was promoted has ended what came before it, and so has any trial against another champion:
    what was left went to that one, also where nothing was bet in it.
    """
    found = list[Standing]()
    earlier = [
        other
        for other in every
        if other.started_as_of <= one.started_as_of and other.digest != one.digest
    ]
    for other in sorted(earlier, key=lambda trial: trial.started_as_of, reverse=True):
        same = other.champion_digest == one.champion_digest and other.adds_up
        if not same or other.ending == "promoted":
            break
        if other.number < one.number:
            found.append(other)
    return found[::-1]


def start(
    store: Store,
    use_case: str,
    *,
    kind: Kind,
    as_of: datetime,
    digest: str,
    champion_digest: str,
    snapshot_id: str,
    adapter: str,
    train_examples: int,
    rules: GateConfig,
) -> None:
    """Begin a trial; one that was begun stays as it is.

    A challenge takes over what those before have left, where the champion was another one. Where
    nothing was bet in the one before, it is that trial with another challenger: it keeps its number
    and level, and nothing new is granted.

    One challenge runs at a time. Where a night is lived again and comes to another challenger, the
    one that it began first ends; where a later night has begun one, an earlier night begins none.
    """
    before = trials(store, use_case, kind=kind)
    if any((one.digest, one.champion_digest) == (digest, champion_digest) for one in before):
        return
    number = before[-1].number + 1 if before else 1
    if kind == "brake":
        alpha = rules.brake_alpha
    else:
        running = [one for one in before if one.ended_as_of is None]
        if any(one.started_as_of > as_of for one in running):
            return
        for one in running:
            end(store, use_case, one, kind=kind, as_of=as_of, ending="superseded")
        number, alpha = _place(store, use_case, before, champion_digest, rules)
    told = {
        "use_case": use_case,
        "kind": kind,
        "digest": digest,
        "champion": champion_digest,
        "number": number,
        "alpha": alpha,
        "snapshot": snapshot_id,
        "adapter": adapter,
        "examples": train_examples,
        "started": as_of,
    }
    with transaction(store.con):
        store.con.execute(_START, told)


def _place(
    store: Store,
    use_case: str,
    before: Sequence[Standing],
    champion_digest: str,
    rules: GateConfig,
) -> tuple[int, float]:
    """Number and level of the challenge that comes after those ``before``.

    Several may have stood under the last number; only the last of them can have been bet on.
    """
    last = [one for one in before if one.number == before[-1].number]
    bet_on = [one for one in last if _was_bet_on(store, use_case, one)]
    if last and not bet_on:
        return last[-1].number, last[-1].alpha
    number = last[-1].number + 1 if last else 1
    goes_on = bool(bet_on) and all(
        one.adds_up and one.ending != "promoted" and one.champion_digest == champion_digest
        for one in bet_on
    )
    left = (
        0.0
        if goes_on
        else min((_left_by(store, use_case, one, rules) for one in bet_on), default=0.0)
    )
    budget = rules.alpha * (1 - rules.holdout_share)
    return number, alpha_budget.trial_alpha(number, carried=left, budget=budget)


def _was_bet_on(store: Store, use_case: str, one: Standing) -> bool:
    return bool(evidence(store, use_case, one))


def _left_by(store: Store, use_case: str, one: Standing, rules: GateConfig) -> float:
    """What a trial and those that it adds up with have left of their levels."""
    trial = as_trial(store, use_case, one)
    if one.ending == "promoted":
        return trial.level
    return alpha_budget.handed_on(trial.level, in_hand(trial, rules) - math.log(trial.level))


def in_hand(trial: Trial, rules: GateConfig) -> float:
    """The logarithm of what the levels of a trial have become; 0.0 when it is proven."""
    found, _ = log_levels(
        trial_progress.levels(trial, margin=rules.margin, by_row=rules.unit == "row"),
        margin=rules.margin,
        quorum=Quorum.of(rules),
    )
    return found


def end(
    store: Store, use_case: str, one: Standing, *, kind: Kind, as_of: datetime, ending: Ending
) -> None:
    """End a trial that runs; one that ended on another night stays as it is."""
    told = {
        "use_case": use_case,
        "kind": kind,
        "digest": one.digest,
        "champion": one.champion_digest,
        "as_of": as_of,
        "ending": ending,
    }
    with transaction(store.con):
        store.con.execute(_END, told)
