"""What customers and attackers say of the answers, as rows of feedback, and when it comes."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from flywheel.records import Prediction
from flywheel.replay.traffic import Asked
from flywheel.replay.worlds import NEW_LABEL, World

APP, GOLD = "app", "gold"
Row = dict[str, Any]


def labeled(asked: Sequence[Asked], *, given_at: datetime) -> list[Row]:
    """Labels that are right, as a company begins with them."""
    return [
        {
            "feedback_id": f"{GOLD}-{number}",
            "kind": "label",
            "value": one.said.label,
            "text": one.said.text,
            "group_id": one.customer,
            "customer_id": one.customer,
            "rater_id": "our-own-people",
            "source": GOLD,
            "given_at": given_at.isoformat(),
        }
        for number, one in enumerate(asked)
    ]


def reactions(
    world: World,
    asked: Sequence[Asked],
    answers: Sequence[Prediction],
    labels: Sequence[str],
    *,
    night: int,
    at: datetime,
    chance: random.Random,
) -> dict[int, list[Row]]:
    """Night → rows that come in before it; ``asked`` were answered a few hours before ``night``."""
    found = defaultdict[int, list[Row]](list)
    for one, answer in zip(asked, answers, strict=True):
        rows = (
            [_row(one, answer, one.goal, at)]
            if one.goal
            else _honest(world, one, answer, labels, at, chance)
        )
        later = chance.choice((1, 2, 3)) if not one.goal and chance.random() < world.late else 0
        for row in rows:
            given = datetime.fromisoformat(row["given_at"]) + timedelta(days=later)
            found[night + later].append({**row, "given_at": given.isoformat()})
    return found


def _honest(
    world: World,
    one: Asked,
    answer: Prediction,
    labels: Sequence[str],
    at: datetime,
    chance: random.Random,
) -> list[Row]:
    right = answer.label == one.said.label
    if chance.random() >= _reacts(world, one, labels, right=right):
        return []
    meant = _takes_for_right(world, one, labels)
    others = [name for name in labels if name != meant]
    if one.said.rated is None and chance.random() < world.slips:
        meant = chance.choice(others)
    corrects = chance.random() < world.corrects
    said = _row(one, answer, meant if corrects or meant == answer.label else None, at)
    rows = [said]
    if chance.random() < world.revised:
        first = _row(one, answer, chance.choice(others), at - timedelta(minutes=5))
        rows = [{**first, "feedback_id": f"{first['feedback_id']}-first"}, said]
    if chance.random() < world.repeated:
        rows.append(said)
    if chance.random() < world.withdrawn:
        taken = {key: value for key, value in said.items() if key != "value"}
        moment = (at + timedelta(minutes=5)).isoformat()
        named = f"{said['feedback_id']}-withdrawn"
        rows.append({**taken, "kind": "withdraw", "feedback_id": named, "given_at": moment})
    return rows


def _reacts(world: World, one: Asked, labels: Sequence[str], *, right: bool) -> float:
    """Chance of a reaction."""
    known = [name for name in labels if name != NEW_LABEL]
    loud = world.loud if one.said.label == known[-1] else 1.0
    return min(1.0, loud * (world.reacts_right if right else world.reacts_wrong))


def _takes_for_right(world: World, one: Asked, labels: Sequence[str]) -> str:
    """What a customer means who does not slip."""
    if one.said.rated in labels:
        return str(one.said.rated)
    number = int(one.customer.rpartition("-")[2])
    if one.said.label == labels[0] and number < world.mistaken * world.customers:
        return labels[1]
    return one.said.label


def _row(one: Asked, answer: Prediction, meant: str | None, at: datetime) -> Row:
    """One reaction of somebody who takes ``meant`` for right; None: only that this is wrong."""
    row = {
        "feedback_id": f"reaction-{answer.prediction_id}",
        "prediction_id": answer.prediction_id,
        "rater_id": one.customer,
        "customer_id": one.customer,
        "source": APP,
        "given_at": at.isoformat(),
    }
    if meant is None:
        return {**row, "kind": "reject"}
    return {**row, "kind": "accept"} if meant == answer.label else _correction(row, meant)


def _correction(row: Mapping[str, Any], meant: str) -> Row:
    return {**row, "kind": "correct", "value": meant}
