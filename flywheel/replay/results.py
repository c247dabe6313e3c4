"""What one life came to, and a policy's figures over its lives."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from flywheel.files import private_files
from flywheel.files.json_files import read_json
from flywheel.stats.paired_tests import mean_interval, wilson_interval

ORACLE = "oracle"
"""The name of the life that learns once a night from the true labels of the same rows."""
BACK_WITHIN = 0.02
"""A policy is back after a shift when it is so near the oracle."""
_MADE_ANEW = "Delete it and run the replay again: its life is lived anew."


@dataclass(frozen=True)
class Life:
    """One policy and seed, night by night; None where there was no champion, or no such figure.

    ``accuracy`` is the champion's after each night, on that night's mix of requests. ``behind`` is
    the most by which a champion was worse, on a night's mix, than the best champion before it.
    """

    policy: str
    seed: int
    accuracy: tuple[float | None, ...]
    outcomes: tuple[str, ...] = ()
    promotions: int = 0
    wrong: tuple[int, ...] = ()
    """Nights with a promotion that is shown to have lowered accuracy."""
    behind: float = 0.0
    labels: int = 0
    attack_success: float | None = None
    goal_share: float | None = None
    errors: tuple[str, ...] = ()
    held_by: tuple[str, ...] = ()
    """Of each night that promoted nothing, the rule that refused, or else the first undecided."""
    cpu_s: float = 0.0
    cpu_s_by_night: tuple[float, ...] = ()
    """Seconds of each night itself, without what the replay does around it."""


def held_by(reasons: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rule that kept a night from promoting, of a night's reasons; none where all passed."""
    rules = [reason for reason in reasons if reason["on"]]
    refused = [reason["rule"] for reason in rules if reason["passed"] is False]
    undecided = [reason["rule"] for reason in rules if reason["passed"] is None]
    return [str(rule) for rule in [*refused, *undecided][:1]]


def path(folder: Path, policy: str, seed: int) -> Path:
    """Where a life is kept."""
    return folder / f"{policy}-{seed}.json"


def keep(folder: Path, life: Life) -> None:
    """Write a life that has ended, whole or not at all."""
    content = json.dumps(asdict(life), indent=1).encode()
    private_files.replace(path(folder, life.policy, life.seed), content)


def kept(folder: Path, policy: str, seed: int) -> Life | None:
    """A life that has ended; None where it has not.

    Raises:
        DataError: its file is damaged.
    """
    file = path(folder, policy, seed)
    if not file.is_file():
        return None
    content = read_json(file, so=_MADE_ANEW)
    tuples = {name: tuple(value) for name, value in content.items() if isinstance(value, list)}
    return Life(**{**content, **tuples})


def figures(
    lives: Sequence[Life], oracles: Mapping[int, Life], shifts: Sequence[int]
) -> dict[str, Any]:
    """A policy's figures over its lives; ``oracles`` is seed → oracle."""
    nights = len(lives[0].accuracy)
    wrong = sum(bool(one.wrong) for one in lives)
    beside = [oracles[one.seed] for one in lives if one.seed in oracles]
    return {
        "policy": lives[0].policy,
        "nights": nights,
        "seeds": len(lives),
        "accuracy_by_night": [_mean(one.accuracy[n] for one in lives) for n in range(nights)],
        "accuracy_95_by_night": [_reach(one.accuracy[n] for one in lives) for n in range(nights)],
        "oracle_accuracy": _mean(one.accuracy[-1] for one in beside),
        "oracle_by_night": [_mean(one.accuracy[n] for one in beside) for n in range(nights)],
        "wrong_promotion_rate": wrong / len(lives),
        "wrong_promotion_95": list(wilson_interval(wrong, len(lives))),
        "wrong_promotions": sum(len(one.wrong) for one in lives),
        "promotions": sum(one.promotions for one in lives),
        "behind_own_best": max(one.behind for one in lives),
        "nights_to_recover": {
            str(shift): _recovery(lives, oracles, shift) for shift in shifts if shift < nights
        },
        "attack_success": _mean(one.attack_success for one in lives),
        "goal_share": _mean(one.goal_share for one in lives),
        "labels": _mean(one.labels for one in lives),
        "failed_nights": sum(one.outcomes.count("failed") for one in lives),
        "errors": sorted({error for one in lives for error in one.errors}),
        "held_by": dict(Counter(rule for one in lives for rule in one.held_by).most_common()),
        "cpu_minutes": _mean(one.cpu_s / 60 for one in lives),
        "cpu_s_by_night": [
            _mean(one.cpu_s_by_night[n] for one in lives if one.cpu_s_by_night)
            for n in range(nights)
        ],
    }


def _recovery(
    lives: Sequence[Life], oracles: Mapping[int, Life], shift: int
) -> dict[str, float | int | None]:
    """Nights from a shift until a life is back; None: more than half of the lives never are."""
    waits = [
        _nights_until_back(one, oracles[one.seed], shift) for one in lives if one.seed in oracles
    ]
    middle = median(float("inf") if wait is None else wait for wait in waits) if waits else None
    return {
        "median": None if middle == float("inf") else middle,
        "never": sum(wait is None for wait in waits),
        "lives": len(waits),
    }


def _nights_until_back(life: Life, oracle: Life, shift: int) -> int | None:
    for night in range(shift, len(life.accuracy)):
        ours, best = life.accuracy[night], oracle.accuracy[night]
        if ours is not None and best is not None and ours >= best - BACK_WITHIN:
            return night - shift
    return None


def _known(values: Any) -> list[float]:
    return [float(value) for value in values if value is not None]


def _mean(values: Any) -> float | None:
    found = _known(values)
    return fmean(found) if found else None


def _reach(values: Any) -> list[float]:
    return list(mean_interval(_known(values)))
