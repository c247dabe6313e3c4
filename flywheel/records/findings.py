"""What ``flywheel doctor`` and the pages report of one thing that they looked at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. Its fields are the keys of ``doctor --json``.

    ``ok`` False stops a night, or its verdict; ``detail`` then says what to do.
    """

    name: str
    ok: bool
    detail: str
