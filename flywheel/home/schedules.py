"""When each use case lives its night: checked here, and kept in the home.

Prefect's server starts the nights, and may be made anew; ``make deploy`` gives it what is kept.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from zoneinfo import available_timezones

from flywheel.config import Home
from flywheel.errors import ConfigError
from flywheel.files import json_files, private_files

_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_SO = (
    "It holds the times of nights. Nothing was changed. Remove it, and name them again by flywheel "
    "schedule."
)


@dataclass(frozen=True)
class Nightly:
    """Once a night at ``at`` (``HH:MM``) by the clocks of ``zone``, a name of the IANA database.

    ``use_case`` is what the deployment's flow is called with: a name, or the path of a file.
    ``watch_minutes`` is how often is looked whether a night should start early; None: never.
    """

    use_case: str
    at: str
    zone: str
    watch_minutes: int | None = None

    @property
    def cron(self) -> str:
        """The same for Prefect: no night is left out or doubled where clocks are changed."""
        hour, minute = self.at.split(":")
        return f"{int(minute)} {int(hour)} * * *"


def nightly(use_case: str, at: str, zone: str, *, watch_minutes: int | None = None) -> Nightly:
    """A schedule as somebody named it.

    Raises:
        ConfigError: there is no such time of day, or no such time zone.
    """
    if not _TIME.fullmatch(at):
        raise ConfigError(
            f"{at!r} is no time of day: write it as HH:MM, from 00:00 to 23:59, such as 02:30. "
            "Nothing was scheduled."
        )
    zones = available_timezones()
    if zone not in zones:
        same = next((one for one in zones if one.lower() == zone.lower()), None)
        # of abbreviations, which name no rule for the change of clocks, none is near another
        places = [one for one in zones if "/" in one]
        near = same or next(iter(difflib.get_close_matches(zone, places, n=1)), None)
        hint = f"Did you mean {near}?" if near else "Write it as Europe/Berlin, or UTC."
        raise ConfigError(f"There is no time zone {zone!r}. {hint} Nothing was scheduled.")
    return Nightly(use_case, at, zone, watch_minutes)


# ---- What is kept


def kept(home: Home) -> dict[str, Nightly | None]:
    """Use case → its schedule; None where its nights were taken off the schedule.

    Raises:
        DataError: the file is damaged.
    """
    path = _path(home)
    if not path.is_file():
        return {}
    found = json_files.read_json(path, so=_SO)
    try:
        return {name: Nightly(**one) if one else None for name, one in found.items()}
    except (AttributeError, TypeError) as error:
        raise json_files.damaged(path, "it holds no schedules", so=_SO) from error


def keep(home: Home, name: str, schedule: Nightly | None) -> None:
    """Remember the schedule of a use case, or that it has none."""
    _write(home, {**kept(home), name: schedule})


def forget(home: Home, name: str) -> None:
    """Remember nothing of a use case."""
    _write(home, {one: schedule for one, schedule in kept(home).items() if one != name})


def _write(home: Home, schedules: Mapping[str, Nightly | None]) -> None:
    content = {name: asdict(one) if one else None for name, one in sorted(schedules.items())}
    private_files.replace(_path(home), f"{json.dumps(content, indent=1)}\n".encode())


def _path(home: Home) -> Path:
    return home.root / "schedules.json"
