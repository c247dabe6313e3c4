"""What to do before GPU time is spent: train, label more, or wait."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from flywheel.config import UseCase
from flywheel.evaluation.learning_curve import Gain
from flywheel.gate import cold_start
from flywheel.gate.power import (
    POWER,
    DetectableEffect,
    Standing,
    groups_to_show,
    next_question_alpha,
    next_trial_alpha,
)
from flywheel.stats.alpha_budget import rows_for

MOST_LABELS = 1_000
"""More labels than this are not recommended: nobody would give them for one question."""


@dataclass(frozen=True)
class Advice:
    """What to do now, and why, in plain words; ``labels`` is how many to give for ``label``."""

    action: Literal["train", "label", "wait"]
    why: str
    labels: int = 0


def recommend(
    case: UseCase,
    standing: Standing,
    *,
    holdout_rows: int,
    waiting: int,
    incoming: int,
    expected: Gain | None,
    seen: Sequence[DetectableEffect],
    disagreement: float,
) -> Advice:
    """Train, label or wait.

    Args:
        case: The use case.
        standing: With the newest snapshot's classes.
        holdout_rows: The holdout's size.
        waiting: Reactions that no snapshot has seen.
        incoming: About how many training examples they will make.
        expected: The gain over the champion that training tonight brings; None when unknown.
        seen: What can be proven (`detectable_effects`).
        disagreement: Share of rows that only one contender gets right.
    """
    missing = case.training.min_examples - sum(standing.classes.values()) - incoming
    if missing > 0:
        why = f"a night needs {case.training.min_examples} examples"
        if not standing.champion:
            train = sum(standing.classes.values()) + incoming
            missing = cold_start.labels_needed(case, train=train, holdout=holdout_rows)
        return _label(case, standing, missing, why)
    short = _shortest(case, standing.classes)
    if short is not None and not waiting:
        label, missing = short
        return _label(case, standing, missing, f"of {label}, {_EVERY_CLASS}")
    provable = standing.champion and any(sight.gain is not None for sight in seen)
    if holdout_rows < case.gate.min_holdout_examples and not provable:
        why = f"the holdout has {holdout_rows} rows and the gate asks none below "
        missing, why = (
            case.gate.min_holdout_examples - holdout_rows,
            f"{why}{case.gate.min_holdout_examples}",
        )
        if not standing.champion:
            return _gold_labels(case, missing, why)
        return _holdout_labels(case, missing, why)
    if standing.judged and not waiting and not standing.retrain_wanted:
        return Advice("wait", "nothing has come since the newest snapshot was judged")
    if standing.retrain_wanted:
        return Advice("train", "somebody was forgotten, and a model without them is wanted")
    if not standing.champion:
        return Advice("train", "there is no champion yet, and the floors alone decide")
    if expected is None:
        return Advice("train", "only a night can say what it would bring")
    return _worth_it(case, standing, holdout_rows, expected, seen, disagreement)


def before_the_first_night(
    case: UseCase,
    waiting: int,
    seats: tuple[int, int] | None,
    classes: Mapping[str, int] | None = None,
) -> Advice:
    """Train or label, before there is a snapshot.

    Args:
        case: The use case.
        waiting: Reactions that no snapshot has seen.
        seats: How many texts of them will train, and are held out; None: only a night says.
        classes: Label → texts that will train; None: as ``seats``.
    """
    least = case.training.min_examples
    if seats is None:
        if waiting < least:
            return _label(case, None, least - waiting, f"a first night needs {least} at least")
        return Advice("train", f"{waiting} reactions wait for a first night")
    train, holdout = seats
    if train < least:
        number = cold_start.labels_needed(case, train=train, holdout=holdout)
        why = f"a first night needs {least} texts to train on, and about {train} are there"
        return _label(case, None, number, why)
    if classes is not None and (short := _shortest(case, classes)) is not None:
        label, missing = short
        return _label(case, None, missing, f"of {label}, {_EVERY_CLASS}")
    missing = case.gate.min_holdout_examples - holdout
    if missing > 0:
        why = f"the holdout will have {holdout} rows and the gate asks none below "
        return _gold_labels(case, missing, f"{why}{case.gate.min_holdout_examples}")
    return Advice("train", f"{waiting} reactions wait for a first night; about {train} texts train")


_EVERY_CLASS = "for a night needs some of every class"


def _shortest(case: UseCase, classes: Mapping[str, int]) -> tuple[str, int] | None:
    """The label that lacks most, and how many examples of it; None when all have enough."""
    if case.is_generation:
        return None
    count, label = min((classes.get(label, 0), label) for label in case.label_names)
    missing = case.training.min_per_class - count
    return (label, missing) if missing > 0 else None


def _worth_it(
    case: UseCase,
    standing: Standing,
    holdout_rows: int,
    expected: Gain,
    seen: Sequence[DetectableEffect],
    disagreement: float,
) -> Advice:
    best = min((sight.gain for sight in seen if sight.gain is not None), default=None)
    hoped = f"{100 * expected.mean:+.1f} points ({_points(expected)}) are expected"
    if best is not None and expected.high >= best:
        reached = "" if expected.mean >= best else ", which may be reached"
        return Advice("train", f"{hoped}; {100 * best:.1f} can be shown{reached}")
    least = "none can be shown" if best is None else f"only {100 * best:.1f} or more can be shown"
    why = f"{hoped}, but {least}, and every question makes the next one harder"
    labels = _labels_to_show(case, standing, holdout_rows, expected.mean, disagreement)
    if labels is not None and labels <= MOST_LABELS:
        return _audits(case, labels, why)
    return Advice("wait", f"{why}; more feedback first")


def _labels_to_show(
    case: UseCase, standing: Standing, holdout_rows: int, gain: float, disagreement: float
) -> int | None:
    """The fewest unbiased labels that show ``gain``: as fresh rows all count, the holdout takes
    some.

    At least 1; None when no number would do.
    """
    beyond = gain - case.gate.margin
    if beyond <= 0:
        return None
    differ = max(disagreement, beyond)
    asked = next_question_alpha(standing, case.gate)
    missing = rows_for(beyond, asked, disagreement=differ, power=POWER) - holdout_rows
    fresh = groups_to_show(
        gain,
        next_trial_alpha(standing, case.gate),
        disagreement=differ,
        margin=case.gate.margin,
    )
    holdout = max(1, math.ceil(missing / case.split.holdout))
    return holdout if fresh is None else min(holdout, fresh)


def _points(gain: Gain) -> str:
    return f"{100 * gain.low:+.1f} to {100 * gain.high:+.1f}"


def _label(case: UseCase, standing: Standing | None, number: int, why: str) -> Advice:
    command = f"flywheel queue -u {case.name} --n {number} --csv todo.csv"
    if standing is None or not standing.champion:
        # before anything was served there are no requests to draw from
        command = cold_start.by_file(case, to_train=True)
    return Advice("label", f"{number} more: {why}; {command}", number)


def _holdout_labels(case: UseCase, rows: int, why: str) -> Advice:
    """The holdout draws its share of what is labeled without bias."""
    number = cold_start.to_seat(rows, case.split.holdout)
    gold = "" if "audit" in case.curation.gold_sources else ", with audit in curation.gold_sources"
    return _audits(case, number, f"so that {rows} of them are held out; {why}", gold)


def _gold_labels(case: UseCase, rows: int, why: str) -> Advice:
    number = cold_start.to_seat(rows, case.split.holdout)
    return Advice(
        "label",
        f"about {number} more texts, so that {rows} of them are held out: {why}; "
        f"{cold_start.by_file(case)}",
        number,
    )


def _audits(case: UseCase, number: int, why: str, how: str = "") -> Advice:
    command = f"flywheel queue -u {case.name} --n {number} --audit-share 1 --csv todo.csv"
    return Advice(
        "label", f"about {number} more, drawn without bias: {why}; {command}{how}", number
    )
