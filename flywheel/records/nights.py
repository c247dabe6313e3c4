"""How a night ended, as the store keeps it and as everything that is shown of it is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

Outcome = Literal["promoted", "awaiting_approval", "rejected", "undecided", "skipped", "failed"]


@dataclass(frozen=True)
class Reason:
    """One rule's finding: whether it passed, and the numbers it looked at, in words.

    ``passed`` None is undecided; a rule that is not ``on`` was switched off and does not count.
    """

    rule: str
    passed: bool | None
    detail: str
    on: bool = True


@dataclass(frozen=True)
class NightRecord:
    """One night. A failed one has neither facts nor a snapshot."""

    as_of: datetime
    outcome: Outcome
    reasons: Sequence[Reason]
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What was measured, by name: JSON values, which only grow in number from release to release.

    A night of an earlier release lacks those of later ones.
    """
    snapshot_id: str | None = None
    digest: str | None = None
    """Of what the night trained; None where it trained nothing."""
    recorded_at: datetime | None = None
    """When it was written down; None of a night that is not yet."""

    @property
    def failed(self) -> bool:
        """Whether it ended without having done its work: it may be lived again."""
        return self.outcome == "failed"

    def holds(self, rule: str, *, passed: bool | None) -> bool:
        """Whether a rule was found so."""
        return any(one.rule == rule and one.passed is passed for one in self.reasons)

    def as_json(self, use_case: str) -> dict[str, Any]:
        """The night as commands, pages and Prefect have it: one level, times as ISO 8601.

        ``recorded_at`` is in it of a night that was lived before.
        """
        lived = {"recorded_at": self.recorded_at.isoformat()} if self.recorded_at else {}
        return {
            "use_case": use_case,
            "as_of": self.as_of.isoformat(),
            "outcome": self.outcome,
            "reasons": [asdict(reason) for reason in self.reasons],
            **lived,
            **self.facts,
        }
