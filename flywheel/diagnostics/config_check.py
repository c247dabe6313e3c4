"""What a use case file names and nothing has: bases, sources, labels; and what was meant.

Reads only. A file that breaks the contract is refused before this by `load_use_case`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

from flywheel import catalog
from flywheel.catalog.base_models import MANIFEST
from flywheel.config import Home, UseCase
from flywheel.records import Feedback
from flywheel.store import open_store
from flywheel.text.normalize import normalise

FIELDS = (*(one.name for one in fields(Feedback)), "rating")
"""Of a row of feedback; of others a source may know more."""


@dataclass(frozen=True)
class Fault:
    """A setting whose value nothing has. ``meant`` is the nearest value that there is, if any."""

    setting: str
    problem: str
    meant: str | None = None

    def line(self) -> str:
        hint = f" Did you mean {self.meant!r}?" if self.meant else ""
        return f"{self.setting}: {self.problem}{hint}"


def check(use_case: UseCase, home: Home) -> list[Fault]:
    """Everything that a night would stumble over, or would leave out unsaid."""
    return [
        *_bases(use_case, home),
        *_labels(use_case),
        *_source_values(use_case),
        *_gold(use_case, home),
    ]


def facts(found: Iterable[Fault]) -> list[dict[str, Any]]:
    """The faults for programs."""
    return [asdict(one) for one in found]


def _bases(use_case: UseCase, home: Home) -> Iterator[Fault]:
    known = catalog.models()
    for name in use_case.base_sha256.keys() - known.keys():
        if not (home.models / name / MANIFEST).is_file():
            yield Fault("base_sha256", f"no base {name!r} is known.", _near(name, known))
    for place, entry in zip(_places(use_case), use_case.training.entries(), strict=True):
        if entry.base is None:
            continue
        if entry.base in known:
            if entry.method not in known[entry.base].methods:
                able = ", ".join(known[entry.base].methods)
                yield Fault(place, f"{entry.base} cannot train {entry.method}; it can: {able}.")
        elif not (home.models / entry.base / MANIFEST).is_file():
            near = _near(entry.base, known)
            yield Fault(place, f"no base {entry.base!r} is known; flywheel models.", near)


def _places(use_case: UseCase) -> list[str]:
    count = len(use_case.training.entries())
    if use_case.training.method != "auto":
        return ["training.base"] * count
    return [f"training.slate.{number}.base" for number in range(count)]


def _labels(use_case: UseCase) -> Iterator[Fault]:
    seen: dict[str, str] = {}
    for label in use_case.labels:
        if (before := seen.setdefault(normalise(label), label)) != label:
            yield Fault(f"labels.{label}", f"it differs from {before!r} by case or spaces alone.")


def _source_values(use_case: UseCase) -> Iterator[Fault]:
    for number, source in enumerate(use_case.sources):
        at = f"sources.{number}"
        for word, ours in source.values.get("value", {}).items():
            if use_case.labels and ours not in use_case.labels:
                problem = f"{ours!r} is no label; labels: {', '.join(use_case.labels)}."
                yield Fault(f"{at}.values.value.{word}", problem, _near(ours, use_case.labels))
        for name in sorted({*source.fields, *source.values, *source.constants} - set(FIELDS)):
            if near := _near(name, FIELDS):
                yield Fault(at, f"{name!r} is no field of feedback.", near)
        if source.kind == "sql" and source.location not in os.environ:
            yield Fault(f"{at}.location", f"the variable {source.location} is not set here.")


def _gold(use_case: UseCase, home: Home) -> Iterator[Fault]:
    """Sources that no feedback ever came from; what never came cannot be told from a typo."""
    there = _came_from(use_case, home)
    if not there:
        return
    rules = use_case.curation
    known = {*there, *_declared(use_case)}
    for setting, names in (
        ("gold_sources", rules.gold_sources),
        ("trusted_sources", rules.trusted_sources),
    ):
        for name in sorted(set(names) - known):
            near = _near(name, known)
            if near or not known & set(names):
                shown = ", ".join(sorted(known))
                problem = f"no feedback came from {name!r}; it came from: {shown}."
                yield Fault(f"curation.{setting}", problem, near)


def _declared(use_case: UseCase) -> set[str]:
    return {one.constants.get("source", one.name) for one in use_case.sources}


def _came_from(use_case: UseCase, home: Home) -> set[str]:
    if not home.warehouse.exists():
        return set()
    with open_store(home.warehouse, read_only=True) as store:
        query = "SELECT DISTINCT source FROM feedback WHERE use_case = ?"
        return {str(source) for (source,) in store.rows(query, [use_case.name])}


def _near(name: str, known: Iterable[str]) -> str | None:
    there = list(known)
    by_case = [one for one in there if normalise(one) == normalise(name) and one != name]
    return next(iter(by_case or difflib.get_close_matches(name, there, n=1)), None)
