"""Which methods were seen working on which architecture: what ``python -m tests.prove`` left.

Each was built tiny, with random weights, trained for two steps, saved, reloaded and served, and
answered the same three times. That says that the code fits, not that the full size was run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flywheel.config import Home
from flywheel.modeling import artifact

FILE = Path(__file__).parents[1] / "catalog" / "proven.json"


@dataclass(frozen=True)
class Proof:
    """``outcomes`` holds, by family and method, None for proven or why it failed.

    ``libraries`` are the versions that it was seen with.
    """

    libraries: Mapping[str, str]
    outcomes: Mapping[str, Mapping[str, str | None]]

    def proven(self, family: str) -> list[str]:
        return [method for method, why in self.outcomes.get(family, {}).items() if why is None]

    def failed(self, family: str) -> dict[str, str]:
        """Method → why it failed."""
        return {m: why for m, why in self.outcomes.get(family, {}).items() if why is not None}


@dataclass(frozen=True)
class Runs:
    """Trainings of a base that are complete in a home: most memory in MB by method."""

    peak_memory_mb: Mapping[str, float] = field(default_factory=dict)


def read() -> Proof:
    """What the newest run of the command found."""
    found = json.loads(FILE.read_text())
    return Proof(found["libraries"], found["outcomes"])


def runs(base: str, home: Home) -> Runs:
    """What this home's own trainings on a base of the catalog took."""
    peaks: dict[str, float] = {}
    for path in sorted(home.adapters.rglob("trained.json")):
        said = path.with_name(artifact.METHOD)
        if not said.is_file():
            continue
        how: dict[str, Any] = json.loads(said.read_text())
        if how["base"] == base:
            peak = float(json.loads(path.read_text())["peak_memory_mb"])
            peaks[how["method"]] = max(peak, peaks.get(how["method"], 0.0))
    return Runs(peaks)
