"""What a labeled file held and a person answered, and the use case that is proposed of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from flywheel.config.method_specs import MethodName
from flywheel.gate.cold_start import FEWEST_GROUPS
from flywheel.ingestion.column_roles import Columns
from flywheel.ingestion.labeled_rows import Labeled
from flywheel.onboarding.holdout_plan import HoldoutPlan
from flywheel.onboarding.method_choice import Method


@dataclass(frozen=True)
class Draft:
    """What was found and answered. ``feedback`` are ``rows`` as they go into the inbox.

    ``spellings`` is label → the other spellings that were merged into it. ``everyone`` says that
    nearly every answer gets a reaction. ``method`` None: what the machine has time for.
    ``separator`` and ``encoding`` None: found in the file. ``months_first`` None: its dates do not
    tell.
    """

    name: str
    described: str
    columns: Columns
    rows: Sequence[Labeled]
    feedback: Sequence[Mapping[str, str]]
    spellings: Mapping[str, Sequence[str]] = field(default_factory=dict)
    everyone: bool = True
    method: MethodName | None = None
    separator: str | None = None
    encoding: str | None = None
    months_first: bool | None = None


@dataclass(frozen=True)
class Proposal:
    """A use case for labeled rows. ``counts`` is label → rows, in the order of the labels.

    Where answers are written it is empty. ``reasons`` say what is proposed and why.
    """

    counts: Mapping[str, int]
    plan: HoldoutPlan
    method: Method
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    yaml: str


def without_groups(rows: Sequence[Labeled]) -> list[Labeled]:
    """The rows, each text a group of its own; who they are of stays."""
    return [replace(row, group=None) for row in rows]


def few_groups(rows: Sequence[Labeled]) -> int | None:
    """How many groups there are, where they are too few to draw a holdout from."""
    groups = {row.group for row in rows if row.group}
    return len(groups) if 0 < len(groups) < FEWEST_GROUPS else None
