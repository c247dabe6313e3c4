"""Which nights of a home run, and who waits for whom."""

from __future__ import annotations

import fcntl
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flywheel.config import Home
from flywheel.files import waiting_line
from flywheel.modeling.durations import in_words


@dataclass(frozen=True)
class Night:
    """A night that runs, in process ``pid``, since ``since_s`` (seconds since 1970)."""

    use_case: str
    pid: int
    since_s: float


def nights_and_waits(home: Home) -> dict[str, Any]:
    """The nights that run and the waits, each the first first, with ``position`` from 1.

    Nothing is opened that they wait for.
    """
    nights = running(home)
    names = {one.pid: f"the night of {one.use_case}" for one in nights}
    counts, holders = Counter[str](), dict[str, int | None]()
    waits = []
    for one in waiting_line.waiters(home.root):
        counts[one.what] += 1
        # only the first tries, and so learns who has it
        pid = holders.setdefault(one.what, one.held_by)
        about = {"held_by": pid, "position": counts[one.what], "holder": names.get(pid or 0)}
        waits.append(asdict(one) | about)
    return {"nights": [asdict(one) for one in nights], "waits": waits}


def running(home: Home) -> list[Night]:
    """The nights that run, the oldest first."""
    nights = [_held(path) for path in sorted(home.root.glob(home.night_lock("*").name))]
    return sorted((one for one in nights if one is not None), key=lambda one: one.since_s)


def _held(path: Path) -> Night | None:
    """Whose night holds a lock; None where none does."""
    try:
        with path.open("r") as file:
            try:
                # shared, so that two who look do not take each other for a night
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                known = json.loads(file.read())
                name = path.stem.removeprefix("night-")
                return Night(name, int(known["pid"]), float(known["since_s"]))
    except (OSError, ValueError, KeyError, TypeError):
        # a night that begins or ends at this moment
        return None
    return None


def render_text(told: dict[str, Any], *, of: str | None = None) -> list[str]:
    """What a person reads of them; ``of`` a use case, only what concerns its nights."""
    waits: Sequence[dict[str, Any]] = told["waits"]
    shown, seen = [], set()
    for night in told["nights"]:
        mine = [one for one in waits if one["pid"] == night["pid"]]
        seen |= {night["pid"]}
        if of in (None, night["use_case"]):
            since = datetime.fromtimestamp(night["since_s"], UTC)
            what = "".join(f", waits for {_wait(one)}" for one in mine)
            shown.append(
                f"the night of {night['use_case']} runs since {since:%H:%M:%S} UTC "
                f"(PID {night['pid']}){what}"
            )
    if of is None:
        others = [one for one in waits if one["pid"] not in seen]
        shown += [f"{one['who']} (PID {one['pid']}) waits for {_wait(one)}" for one in others]
    return shown


def _wait(one: dict[str, Any]) -> str:
    waited = in_words(time.time() - one["since_s"])
    holder = one["holder"] or (f"PID {one['held_by']}" if one["held_by"] else None)
    behind = f", which {holder} holds" if holder else ""
    return f"{one['what']}{behind} (place {one['position']}, for {waited})"
