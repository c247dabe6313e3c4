"""When a night starts before its time."""

from __future__ import annotations

from pydantic import Field

from flywheel.config.base import Section


class WatchConfig(Section):
    """What starts a night early. Each reason does so once; `flywheel schedule` turns it on."""

    new_feedback: int | None = Field(default=None, ge=1)
    """Usable rows since the last night that start one. Unset: none is started for that.

    A customer counts for ``curation.max_customer_rows`` at most. Each night asks the holdout once
    more, so that a number which comes every few hours spends what later nights need.
    """
    fewer_accepted: float | None = Field(default=None, gt=0, lt=1)
    """By how much the accepted share of the champion's answers must have fallen, such as 0.1.
    Unset: none is started for that.

    It starts one once for each champion, because more of the same says nothing new.
    """
    every_minutes: int = Field(default=15, ge=1, le=60)
    """How often is looked. A look takes a process of a few seconds, so that it is not each minute.

    After a change run `flywheel schedule` again.
    """

    @property
    def minutes(self) -> int | None:
        """How often is looked; None where nothing starts a night early."""
        is_on = self.new_feedback is not None or self.fewer_accepted is not None
        return self.every_minutes if is_on else None
