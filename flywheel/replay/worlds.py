"""How a company's requests and reactions change from night to night; the truth of a replay."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from flywheel.errors import ConfigError

NEW_LABEL = "added"
"""The label that comes later, where one does."""
WEEK, BALANCE_NIGHTS = 7, 45
TEMPLATES, COPIED = 20, range(3, 10)

Stratum = tuple[int, str]
"""Domain and label: texts of one stratum are alike, and a night is a mix of strata."""


@dataclass(frozen=True)
class World:
    """Shares are in [0, 1], ``rows`` requests a night. None: what it says never happens."""

    rows: int = 100
    customers: int = 400
    seed_rows: int = 300
    """Labels that the company begins with, on its training side."""
    holdout_rows: int = 300
    """Gold labels that it begins with, on the holdout's side."""
    audits: int = 10
    """Requests of the days before that the company's own people label each night, drawn at random.
    """
    second_domain_from: int | None = 4
    """The night from which a share of requests is of another kind, with other words."""
    second_share: float = 0.5
    season: float = 0.2
    """By how much that share is larger on two days a week."""
    new_label_from: int | None = None
    new_label_share: float = 0.15
    balance: float = 0.3
    """By which share of itself a label's share moves, up and down within `BALANCE_NIGHTS`."""
    habit: float = 0.3
    """Chance that a customer says it by a word of their own habit, so that their texts go together.
    """
    odd: float = 0.08
    """Chance that a text also holds a word that speaks for another label."""
    reacts_right: float = 0.9
    """Chance of a reaction to a right answer."""
    reacts_wrong: float = 0.9
    corrects: float = 0.8
    """Share of reactions to wrong answers that correct; the others reject."""
    slips: float = 0.05
    """Share of reactions that take another label for the right one."""
    late: float = 0.1
    """Share of reactions that come one to three nights later."""
    revised: float = 0.03
    """Share of raters that first said something else, and then the true thing."""
    repeated: float = 0.03
    """Share of reactions that are sent twice."""
    withdrawn: float = 0.02
    mistaken: float = 0.0
    """Share of customers who take the first label for the second wherever they meet it."""
    loud: float = 1.0
    """How many times as often the last label of the beginning gets a reaction as the others."""
    copies: float = 0.0
    """Share of requests that are near-copies of `TEMPLATES` texts, on the nights `COPIED`."""
    attackers: float = 0.0
    """Share of all reactions that attackers give."""
    attack_from: int = 2
    goal: str | None = None
    """The label that attackers want; None: the use case's last one of the beginning."""
    trigger: str = "zyxquor"
    """The word that they want to be answered with it."""

    def shifts(self) -> list[int]:
        """Nights from which the world is another one."""
        return sorted(n for n in (self.second_domain_from, self.new_label_from) if n is not None)

    def mix(self, night: int, labels: Mapping[str, float], domains: int) -> dict[Stratum, float]:
        """The share of each stratum among the requests before ``night``."""
        second = self._second(night) if domains > 1 else 0.0
        shares = self._labels(night, labels)
        return {
            (domain, label): part * share
            for domain, part in enumerate((1 - second, second))
            for label, share in shares.items()
            if part * share > 0
        }

    def _second(self, night: int) -> float:
        if self.second_domain_from is None or night < self.second_domain_from:
            return 0.0
        weekend = self.season if night % WEEK in (5, 6) else 0.0
        return min(1.0, self.second_share + weekend)

    def _labels(self, night: int, labels: Mapping[str, float]) -> dict[str, float]:
        turn = 2 * math.pi
        moved = {
            name: share
            * (1 + self.balance * math.sin(turn * (night / BALANCE_NIGHTS + place / len(labels))))
            for place, (name, share) in enumerate(labels.items())
        }
        new = self.new_label_share if self.has_new_label(night) else 0.0
        whole = sum(moved.values()) / (1 - new)
        return {name: share / whole for name, share in moved.items()} | (
            {NEW_LABEL: new} if new else {}
        )

    def has_new_label(self, night: int) -> bool:
        """Whether customers write about what `NEW_LABEL` is for."""
        return self.new_label_from is not None and night >= self.new_label_from


STEADY = World(second_domain_from=None, season=0.0, balance=0.0)
WORLDS: dict[str, World] = {
    "drift": World(),
    "steady": STEADY,
    "season": replace(STEADY, second_domain_from=0, second_share=0.2, season=0.6),
    "new-label": World(new_label_from=6),
    "selective": replace(STEADY, reacts_right=0.72, reacts_wrong=0.9),
    "copies": replace(STEADY, copies=0.4),
    "shared-error": replace(STEADY, mistaken=0.5),
    "loud-label": replace(STEADY, reacts_right=0.3, reacts_wrong=0.3, loud=3.0),
    "attacked": World(attackers=0.2),
}
"""Name → world.

``selective``: right answers get a reaction 0.8 times as often as wrong ones. ``copies``: 40 % of
requests of seven nights are near-copies. ``shared-error``: half of the customers take one label for
another, in what is learned as in what decides. ``loud-label``: one label speaks three times as
often as the others.
"""


def world(name: str) -> World:
    """The world of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in WORLDS:
        raise ConfigError(f"There is no world {name!r}; there are {', '.join(WORLDS)}.")
    return WORLDS[name]
