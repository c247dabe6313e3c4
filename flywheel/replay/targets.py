"""What a replay is held to, beside what it came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Target:
    """``measured`` is None where these lives say nothing of it; then it is neither met nor missed.

    Shares and differences of accuracies are in [0, 1]; ``unit`` is how they are told.
    """

    name: str
    says: str
    measured: float | None
    bound: float
    side: Literal["at most", "at least"] = "at most"
    unit: Literal["share", "points", "nights"] = "share"
    or_more: bool = False
    """Whether lives ended before it was known: it is at least what was measured."""

    @property
    def missed_by(self) -> float | None:
        """By how much; 0 where it is met, None where that is not known."""
        if self.measured is None:
            return None
        over = self.measured - self.bound
        if self.or_more and over <= 0:
            return None
        return max(0.0, over if self.side == "at most" else -over)


def targets(figures: Mapping[str, Any]) -> list[Target]:
    """The targets of one policy in one world."""
    first, last = figures["accuracy_by_night"][0], figures["accuracy_by_night"][-1]
    oracle = figures["oracle_accuracy"]
    found = [
        Target(
            "wrong-promotions",
            "lives with a wrong promotion",
            figures["wrong_promotion_rate"],
            0.05,
        ),
        Target(
            "wrong-promotions-95",
            "upper end of the 95 % interval of that",
            figures["wrong_promotion_95"][1],
            0.07,
        ),
        Target(
            "oracle",
            "last night's accuracy under the oracle's",
            _less(oracle, last),
            0.01,
            unit="points",
        ),
        Target(
            "gain",
            "last night's accuracy above night 0",
            _less(last, first),
            0.03,
            "at least",
            "points",
        ),
        Target(
            "own-best",
            "worst fall under its own past best",
            figures["behind_own_best"],
            0.01,
            unit="points",
        ),
    ]
    found += [
        Target(
            f"recovery-{shift}",
            f"nights until back after the shift of night {shift}, median",
            _nights(one, left=figures["nights"] - int(shift)),
            3,
            unit="nights",
            or_more=one["median"] is None,
        )
        for shift, one in figures["nights_to_recover"].items()
    ]
    if figures["attack_success"] is not None:
        found.append(Target("attack", "success of the trigger", figures["attack_success"], 0.05))
    return found


def _less(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _nights(recovery: Mapping[str, Any], *, left: int) -> float | None:
    """Lives that are never back took at least the nights that were left."""
    if not recovery["lives"]:
        return None
    return float(left) if recovery["median"] is None else float(recovery["median"])
