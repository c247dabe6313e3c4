"""Take the champion back to the one before it, and record that."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime

from flywheel.config import Home, UseCase
from flywheel.errors import DataError, NotEnoughData
from flywheel.records import Promotion
from flywheel.tracking.champion_history import predecessors
from flywheel.tracking.registry import Registry
from flywheel.tracking.version_tags import NO_CHAMPION
from tasks.champion.move import champions, promote_over
from tasks.champion.reconcile import fault_of, reconcile
from tasks.coordination.locks import moving_champion

_SHOWN = 10
"""Versions that are named at most."""


@dataclass(frozen=True)
class Plan:
    """What a rollback would do. ``refused`` is version → why it may not be champion again."""

    use_case: str
    champion: str
    target: str
    refused: dict[str, str] = field(default_factory=dict)


def plan(use_case: UseCase, home: Home, *, to: str | None = None) -> Plan:
    """The rollback from the champion to its predecessor, or to version ``to``; changes nothing.

    A predecessor that is not what was measured is passed over for the one before it. ``to`` may be
    an alias of MLflow, such as ``challenger``; with it a use case whose champion was deleted gets
    one again.

    Raises:
        NotEnoughData: there is no champion, or none before it that may be champion again.
        DataError: ``to`` is the champion, is not there, or is not what was measured.
    """
    name, registry = use_case.name, Registry(home)
    listed = registry.versions(name)
    versions = {one.version for one in listed}
    champion = registry.champion(name)
    if champion is None and to is None:
        raise NotEnoughData(
            f"{name} has no champion, so there is nothing to roll back. Where it was deleted in "
            f"MLflow: flywheel rollback -u {name} --to challenger --yes"
        )
    if to is not None:
        to = next((one.version for one in listed if to in one.aliases), to)
        if to == champion or to not in versions:
            what = "the champion already" if to == champion else "not in the registry"
            others = _others(name, versions, champion)
            raise DataError(f"{name} version {to} is {what}. {others}Nothing was changed.")
        if (fault := fault_of(use_case, home, to)) is not None:
            raise DataError(f"{fault} The champion is version {champion}, as before.")
        return Plan(name, champion or NO_CHAMPION, to)
    assert champion is not None
    refused: dict[str, str] = {}
    for version in predecessors(champions(home, name), champion):
        fault = "it was deleted" if version not in versions else fault_of(use_case, home, version)
        if fault is None:
            return Plan(name, champion, version, refused)
        refused[version] = fault
    why = "; ".join(f"version {version}: {fault}" for version, fault in refused.items())
    raise NotEnoughData(
        f"{name} has no champion before version {champion} to go back to. "
        f"{why + ' ' if why else ''}{_others(name, versions - set(refused), champion)}"
        "Nothing was changed."
    )


def _others(name: str, versions: Collection[str], champion: str | None) -> str:
    """How to go to any other version, with the newest of them; empty where there is none."""
    others = sorted(set(versions) - {champion}, key=int, reverse=True)
    if not others:
        return ""
    shown = ", ".join(others[:_SHOWN]) + (", ..." if len(others) > _SHOWN else "")
    return f"flywheel rollback -u {name} --to VERSION takes any other (here: {shown}). "


def rollback(
    use_case: UseCase, home: Home, *, to: str | None = None, at: datetime, who: str, why: str
) -> Promotion:
    """Do what `plan` says, also while a night is running: that night then promotes nothing.

    Raises:
        NotEnoughData, DataError: as `plan`.
    """
    with moving_champion(home, use_case.name):
        reconcile(use_case, home, at=at)
        made = plan(use_case, home, to=to)
        version = Registry(home).by_version(use_case.name, made.target)
        step = promote_over(
            use_case,
            home,
            version,
            against=_against(use_case, home, made),
            at=at,
            action="rolled_back",
            who=who,
            why=why,
        )
        # None: this very rollback is on record, and the champion has moved on since
        return step or next(p for p in reversed(champions(home, use_case.name)) if p.at == at)


def _against(use_case: UseCase, home: Home, made: Plan) -> str | None:
    """In whose place: the champion, or the one that the log still names after it was deleted."""
    if made.champion != NO_CHAMPION:
        return made.champion
    known = champions(home, use_case.name)
    return known[-1].version if known else None
