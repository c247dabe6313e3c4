"""What ``flywheel doctor --security`` says of one thing that it looked at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Door:
    """Something that was looked at. ``fix`` is the command or setting that closes it, if open."""

    name: str
    ok: bool
    detail: str
    fix: str = ""
