"""How one night ended, and what everybody could read the morning after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

SILENT_NIGHTS = 3
"""So many nights may end alike before somebody must be told what would change that."""


@dataclass(frozen=True)
class Day:
    """How one night ended, and what everybody could read the morning after."""

    number: int
    as_of: datetime
    night: Mapping[str, Any]
    page: str
    status: Mapping[str, Any]
    doctor: Sequence[Mapping[str, Any]] | None
    """What doctor said; None where nobody asked."""
    told: str
    right: float | None = None
    """Share of this day's answers that were right, before the night; None where none was given."""

    @property
    def outcome(self) -> str:
        return str(self.night["outcome"])

    @property
    def champion(self) -> str | None:
        found = self.status["champion"]
        return None if found is None else str(found["version"])

    @property
    def advice(self) -> str:
        """All that doctor says, as one text, but that nights here are ahead of the clock."""
        return "\n".join(
            f"{finding['name']}: {finding['detail']}"
            for finding in self.doctor or ()
            if finding["name"] != "clock"
        )

    def __str__(self) -> str:
        right = "" if self.right is None else f", {self.right:.2f} right"
        return (
            f"night {self.number} {self.as_of:%m-%d %H:%M}: {self.outcome}, champion "
            f"{self.champion}{right}, open: {', '.join(self.open_rules) or '-'}"
        )

    @property
    def open_rules(self) -> list[str]:
        """The rules that the night did not pass and that are switched on."""
        reasons = self.night.get("reasons", [])
        return [r["rule"] for r in reasons if r.get("on", True) and r["passed"] is not True]

    @property
    def state(self) -> tuple[str, ...]:
        """What a person would call the same as yesterday; a promotion is always something new."""
        fresh = str(self.number) if self.outcome == "promoted" else ""
        return (self.outcome, str(self.champion), *self.open_rules, fresh)
